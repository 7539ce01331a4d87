#include "job.h"

#include <cmath>
#include <cstdio>
#include <fstream>
#include <sstream>

namespace runner {
namespace {

using Words = std::vector<std::string>;

Words split(const std::string& text, char separator) {
  Words words;
  std::stringstream stream(text);
  for (std::string word; std::getline(stream, word, separator);) words.push_back(word);
  return words;
}

int64_t whole_number(const std::string& text, int64_t least) {
  size_t used = 0;
  int64_t value = 0;
  try {
    value = std::stoll(text, &used);
  } catch (const std::logic_error&) {
    throw Failure("'" + text + "' is not a whole number");
  }
  if (used != text.size() || value < least) throw Failure("'" + text + "' must be a whole number >= " + std::to_string(least));
  return value;
}

float real_number(const std::string& text) {
  char* end = nullptr;
  const float value = std::strtof(text.c_str(), &end);
  if (text.empty() || *end != '\0' || std::isnan(value)) throw Failure("'" + text + "' is not a number");
  return value;
}

Stored stored_tensor(const Words& words) {
  Stored stored;
  stored.offset = static_cast<size_t>(whole_number(words[1], 0));
  stored.type.dtype = words[2];
  element_size(words[2]);
  if (words[3] == "-") return stored;
  for (const auto& extent : split(words[3], ',')) stored.type.shape.push_back(whole_number(extent, 0));
  return stored;
}

StageJob stage(const Words& words) {
  if (words[2] == "last") return {words[1], true, 0.0f};
  return {words[1], false, real_number(words[2])};
}

int small_number(const std::string& text, int64_t least) {
  const int64_t value = whole_number(text, least);
  if (value > 1000000) throw Failure("'" + text + "' is more than 1000000");
  return static_cast<int>(value);
}

void expect_words(const Words& words, size_t count) {
  if (words.size() != count) throw Failure("'" + words[0] + "' takes " + std::to_string(count - 1) + " words");
}

bool take_setting(Job& job, const Words& words) {
  const std::string& name = words[0];
  if (name == "model") job.model = words[1];
  else if (name == "inputs") job.inputs = words[1];
  else if (name == "results") job.results = words[1];
  else if (name == "outputs") job.outputs = words[1];
  else if (name == "threads") job.threads = static_cast<int>(whole_number(words[1], 1));
  else if (name == "warmup") job.warmup = static_cast<int>(whole_number(words[1], 0));
  else if (name == "iterations") job.iterations = static_cast<int>(whole_number(words[1], 0));
  else if (name == "limit") job.limit_s = static_cast<unsigned>(whole_number(words[1], 0));
  else if (name == "call") job.calls.push_back({words[1], {}});
  else if (name == "finish") job.finish.push_back(words[1]);
  else if (name == "watch") job.watches.push_back(words[1]);
  else if (name == "visit") job.visits.push_back(words[1] == "golden" ? kGolden : small_number(words[1], 0));
  else return false;
  return true;
}

void take(Job& job, const Words& words) {
  const std::string& name = words[0];
  if (name == "input" || name == "image") {
    expect_words(words, 4);
    if (name == "input" && job.calls.empty()) throw Failure("'input' comes before any 'call'");
    (name == "input" ? job.calls.back().inputs : job.images).push_back(stored_tensor(words));
  } else if (name == "stage") {
    expect_words(words, 3);
    job.stages.push_back(stage(words));
  } else if (name == "golden") {
    expect_words(words, 3);
    job.golden = words[1];
    job.golden_entry = words[2];
  } else if (name == "settle") {
    expect_words(words, 4);
    job.settle = {small_number(words[1], 2), small_number(words[2], 1), small_number(words[3], 1)};
  } else if (name == "sustain") {
    expect_words(words, 4);
    job.sustain = {{small_number(words[1], 0), whole_number(words[2], 1), whole_number(words[3], 1)}};
  } else {
    expect_words(words, 2);
    if (!take_setting(job, words)) throw Failure("unknown directive '" + name + "'");
  }
}

void check_returns(const Job& job) {
  const int subjects = static_cast<int>(job.stages.empty() ? job.calls.size() : job.stages.size());
  for (int visit : job.visits) {
    if (visit >= subjects) throw Failure("visit " + std::to_string(visit) + " is beyond the " + std::to_string(subjects) + " calls or exits");
    if (visit == kGolden && job.golden.empty()) throw Failure("a visit to the golden model needs 'golden'");
  }
  for (const Sustain& sustain : job.sustain) {
    if (sustain.subject >= subjects) throw Failure("sustain " + std::to_string(sustain.subject) + " is beyond the calls or exits");
  }
}

void check(const Job& job) {
  if (job.model.empty() || job.inputs.empty() || job.results.empty() || job.outputs.empty()) {
    throw Failure("model, inputs, results and outputs must be given");
  }
  if (!job.calls.empty() && !job.stages.empty()) throw Failure("a job has either calls or stages");
  if (job.calls.empty() && job.stages.empty() && job.watches.empty()) throw Failure("a job has calls, stages or watches");
  check_returns(job);
  if (job.stages.empty()) {
    if (!job.finish.empty() || !job.images.empty()) throw Failure("finish and image belong to stages");
    return;
  }
  for (size_t s = 0; s < job.stages.size(); ++s) {
    if (job.stages[s].last != (s + 1 == job.stages.size())) throw Failure("every stage but the last one has a threshold");
  }
  if (job.finish.size() + 1 != job.stages.size()) throw Failure("every stage but the last one has a finish");
}

}  // namespace

Job read_job(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw Failure("job file " + path + " can't be read");
  Job job;
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    if (number == 1) {
      if (line != "job 1") throw Failure("job file " + path + ": the first line must be 'job 1'");
      continue;
    }
    if (line.empty() || line[0] == '#') continue;
    try {
      take(job, split(line, ' '));
    } catch (const Failure& failure) {
      throw Failure("job file " + path + ", line " + std::to_string(number) + ": " + failure.what());
    }
  }
  check(job);
  return job;
}

InputFile::InputFile(const std::string& path) : path_(path), stream_(path, std::ios::binary | std::ios::ate) {
  if (!stream_) throw Failure("inputs file " + path + " can't be read");
  size_ = static_cast<size_t>(stream_.tellg());
}

void InputFile::read(const Stored& stored, void* memory) {
  const size_t bytes = stored.type.bytes();
  if (stored.offset > size_ || bytes > size_ - stored.offset) {
    throw Failure("inputs file " + path_ + " has " + std::to_string(size_) + " bytes, too few for " + stored.type.text() + " at offset " +
                  std::to_string(stored.offset));
  }
  stream_.seekg(static_cast<std::streamoff>(stored.offset));
  if (!stream_.read(static_cast<char*>(memory), static_cast<std::streamsize>(bytes))) throw Failure("inputs file " + path_ + " can't be read");
}

Tensor InputFile::read(const Stored& stored) {
  Tensor tensor{stored.type, allocate(stored.type.bytes())};
  read(stored, tensor.data.get());
  return tensor;
}

}  // namespace runner
