// Shows what the C++ reference's parts compute, for test_reference_cpp.py.
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>

#include "camera.h"
#include "json.h"
#include "label_filter.h"

namespace {

using Words = std::vector<std::string>;

std::vector<uint8_t> read(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

void write(const std::string& path, const runner::Image& image) {
  std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(image.rgb.data()), static_cast<std::streamsize>(image.rgb.size()));
}

runner::Image convert(const std::string& kind, const std::vector<uint8_t>& frame, size_t width, size_t height) {
  if (kind == "nv21") return runner::rgb_from_nv21(frame.data(), width, height);
  return runner::rgb_from_420v(frame.data(), width, frame.data() + width * height, width, width, height);
}

void show_labels(const Words& words) {
  runner::LabelFilter filter(std::stoi(words[1]));
  for (size_t i = 2; i < words.size(); ++i) std::cout << int{filter({static_cast<uint8_t>(std::stoi(words[i]))})[0]} << "\n";
}

std::string quoted(const std::string& text) {
  std::string found = "\"";
  for (const char c : text) {
    char escape[8];
    std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(c));
    found += (c >= 0 && c < 0x20) || c == '"' || c == '\\' ? std::string(escape) : std::string(1, c);
  }
  return found + "\"";
}

std::string dump(const runner::Json& json) {
  using Kind = runner::Json::Kind;
  std::string found;
  char number[40];
  switch (json.kind()) {
    case Kind::null: return "null";
    case Kind::boolean: return json.boolean() ? "true" : "false";
    case Kind::number: std::snprintf(number, sizeof number, "%.17g", json.number()); return number;
    case Kind::text: return quoted(json.text());
    case Kind::list:
      for (const runner::Json& item : json.list()) found += (found.empty() ? "" : ",") + dump(item);
      return "[" + found + "]";
    case Kind::object:
      for (const auto& [name, value] : json.members()) found += (found.empty() ? "" : ",") + quoted(name) + ":" + dump(value);
      return "{" + found + "}";
  }
  return found;
}

void show_json(const std::string& path) {
  const std::vector<uint8_t> content = read(path);
  std::cout << dump(runner::Json::parse({content.begin(), content.end()})) << "\n";
}

void run(const Words& words) {
  if (words[0] == "json") show_json(words[1]);
  else if (words[0] == "labels") show_labels(words);
  else if (words[0] == "resize") write(words[4], runner::resize(runner::read_pnm(words[1], 3), std::stoul(words[2]), std::stoul(words[3])));
  else write(words[4], convert(words[0], read(words[1]), std::stoul(words[2]), std::stoul(words[3])));
}

}  // namespace

int main(int count, char** arguments) {
  try {
    run({arguments + 1, arguments + count});
    return 0;
  } catch (const runner::Failure& failure) {
    std::cout << failure.what() << "\n";
    return 3;
  }
}
