// SPDX-License-Identifier: Apache-2.0
// A reader for manifest.json, so that this folder needs no library; an app that has one reads the manifest with that.
#pragma once

#include <cctype>
#include <cstdint>
#include <locale>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "tensor.h"

namespace runner {

class Json {
 public:
  enum class Kind { null, boolean, number, text, list, object };

  static Json parse(const std::string& text) {
    Reader reader{text, 0};
    Json value = reader.value();
    reader.space();
    if (reader.at != text.size()) reader.fail("something after its end");
    return value;
  }

  Kind kind() const { return kind_; }
  bool is_null() const { return kind_ == Kind::null; }
  bool boolean() const { return expect(Kind::boolean), number_ != 0; }
  double number() const { return expect(Kind::number), number_; }
  const std::string& text() const { return expect(Kind::text), text_; }
  const std::vector<Json>& list() const { return expect(Kind::list), list_; }
  const std::map<std::string, Json>& members() const { return expect(Kind::object), members_; }
  bool has(const std::string& name) const { return kind_ == Kind::object && members_.count(name) > 0; }
  const Json& operator[](const std::string& name) const {
    if (!has(name)) throw Failure("manifest.json is no manifest of a deployment: \"" + name + "\" is missing");
    return members_.at(name);
  }

 private:
  struct Reader {
    const std::string& text;
    size_t at;

    [[noreturn]] void fail(const std::string& what) const {
      throw Failure("manifest.json is no JSON: " + what + " at byte " + std::to_string(at));
    }
    void space() {
      while (at < text.size() && std::isspace(static_cast<unsigned char>(text[at]))) ++at;
    }
    char peek() {
      space();
      if (at >= text.size()) fail("it ends too early");
      return text[at];
    }
    bool take(char wanted) {
      if (peek() != wanted) return false;
      ++at;
      return true;
    }
    void need(char wanted) {
      if (!take(wanted)) fail(std::string("no '") + wanted + "'");
    }
    bool word(const std::string& wanted) {
      if (text.compare(at, wanted.size(), wanted) != 0) return false;
      at += wanted.size();
      return true;
    }

    Json value() {
      Json json;
      const char first = peek();
      if (first == '{') json.members_ = members(), json.kind_ = Kind::object;
      else if (first == '[') json.list_ = items(), json.kind_ = Kind::list;
      else if (first == '"') json.text_ = string(), json.kind_ = Kind::text;
      else if (word("null")) json.kind_ = Kind::null;
      else if (word("true")) json.number_ = 1, json.kind_ = Kind::boolean;
      else if (word("false")) json.kind_ = Kind::boolean;
      else json.number_ = digits(), json.kind_ = Kind::number;
      return json;
    }

    std::map<std::string, Json> members() {
      std::map<std::string, Json> found;
      need('{');
      if (take('}')) return found;
      do {
        if (peek() != '"') fail("no name");
        const std::string name = string();
        need(':');
        found[name] = value();
      } while (take(','));
      need('}');
      return found;
    }

    std::vector<Json> items() {
      std::vector<Json> found;
      need('[');
      if (take(']')) return found;
      do found.push_back(value());
      while (take(','));
      need(']');
      return found;
    }

    double digits() {
      const size_t end = text.find_first_not_of("+-0123456789.eE", at);
      std::istringstream stream(text.substr(at, end == std::string::npos ? end : end - at));
      stream.imbue(std::locale::classic());  // an app's locale may write 0,5
      double number = 0;
      if (!(stream >> number) || stream.peek() != std::istringstream::traits_type::eof()) fail("no value");
      at = end == std::string::npos ? text.size() : end;
      return number;
    }

    std::string string() {
      std::string found;
      for (++at; at < text.size() && text[at] != '"'; ++at) {
        if (text[at] == '\\') escape(found);
        else found += text[at];
      }
      if (at++ >= text.size()) fail("a text without an end");
      return found;
    }

    void escape(std::string& found) {
      static const std::map<char, char> plain = {{'n', '\n'}, {'t', '\t'}, {'r', '\r'}, {'b', '\b'}, {'f', '\f'}, {'"', '"'}, {'\\', '\\'}, {'/', '/'}};
      if (++at >= text.size()) fail("a text without an end");
      if (text[at] == 'u') {
        utf8(found, hexadecimal(text.substr(at + 1, 4)));
        at += 4;
      } else if (plain.count(text[at])) {
        found += plain.at(text[at]);
      } else {
        fail("an unknown escape");
      }
    }

    // Surrogates are refused: the manifest's writer gives such characters as they are.
    unsigned long hexadecimal(const std::string& digits) const {
      if (digits.size() != 4 || digits.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos) fail("an unknown escape");
      const unsigned long point = std::stoul(digits, nullptr, 16);
      if (point >= 0xD800 && point < 0xE000) fail("an unknown escape");
      return point;
    }

    static void utf8(std::string& found, unsigned long point) {
      if (point < 0x80) found += static_cast<char>(point);
      else if (point < 0x800) found += {static_cast<char>(0xC0 | (point >> 6)), tail(point)};
      else found += {static_cast<char>(0xE0 | (point >> 12)), tail(point >> 6), tail(point)};
    }
    static char tail(unsigned long point) { return static_cast<char>(0x80 | (point & 0x3F)); }
  };

  void expect(Kind wanted) const {
    if (kind_ != wanted) throw Failure("manifest.json is no manifest of a deployment: a value is of the wrong kind");
  }

  Kind kind_ = Kind::null;
  double number_ = 0;
  std::string text_;
  std::vector<Json> list_;
  std::map<std::string, Json> members_;
};

}  // namespace runner
