#include "results.h"

#include <fcntl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <initializer_list>

namespace runner {
namespace {

int crash_handle = -1;

int64_t peak_memory_kb() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("VmHWM:", 0) == 0) return std::stoll(line.substr(6));
  }
  return 0;
}

// Only async-signal-safe calls: the heap may be what broke.
void crashed(int) {
  static const char text[] = "{\"error\":\"the runtime crashed: the model file may be damaged, or need operators that it lacks\"}\n";
  const ssize_t ignored = write(crash_handle, text, sizeof(text) - 1);
  _exit(ignored < 0 ? 2 : 1);
}

template <typename Value>
std::string joined(const std::vector<Value>& values, const char* format) {
  std::string json = "[";
  char number[40];
  for (size_t i = 0; i < values.size(); ++i) {
    std::snprintf(number, sizeof number, format, values[i]);
    json += (i ? "," : "") + std::string(number);
  }
  return json + "]";
}

}  // namespace

std::string json_text(const std::string& text) {
  std::string json = "\"";
  char code[8];
  for (unsigned char c : text) {
    if (c == '"' || c == '\\') {
      json += '\\';
      json += static_cast<char>(c);
    } else if (c < 0x20 || c >= 0x7f) {
      std::snprintf(code, sizeof code, "\\u%04x", c);
      json += code;
    } else {
      json += static_cast<char>(c);
    }
  }
  return json + "\"";
}

std::string json_numbers(const std::vector<int64_t>& values) {
  const std::vector<long long> numbers(values.begin(), values.end());
  return joined(numbers, "%lld");
}

std::string json_reals(const std::vector<float>& values) {
  for (float value : values) {
    if (!std::isfinite(value)) throw Failure("a confidence is not finite");
  }
  return joined(std::vector<double>(values.begin(), values.end()), "%.9g");
}

OutputFile::OutputFile(const std::string& path) : path_(path), stream_(path, std::ios::binary | std::ios::trunc) {
  if (!stream_) throw Failure("outputs file " + path + " can't be opened");
}

std::string OutputFile::append(const TensorType& type, const void* data) {
  const size_t offset = size_;
  stream_.write(static_cast<const char*>(data), static_cast<std::streamsize>(type.bytes()));
  if (!stream_.flush()) throw Failure("outputs file " + path_ + " can't be written: is the phone's storage full?");
  size_ += type.bytes();
  std::string json = "{\"offset\":" + std::to_string(offset) + ",\"dtype\":" + json_text(type.dtype) + ",\"shape\":" + json_numbers(type.shape);
  if (type.quantized) {
    char numbers[80];
    std::snprintf(numbers, sizeof numbers, ",\"scale\":%.9g,\"zero_point\":%lld", static_cast<double>(type.scale),
                  static_cast<long long>(type.zero_point));
    json += numbers;
  }
  return json + "}";
}

ResultFile::ResultFile(const std::string& path) : handle_(open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644)) {
  if (handle_ < 0) throw Failure("result file " + path + " can't be opened: " + std::strerror(errno));
}

ResultFile::~ResultFile() { close(handle_); }

void ResultFile::line(const std::string& json) {
  const std::string text = json + "\n";
  for (size_t done = 0; done < text.size();) {
    const ssize_t written = write(handle_, text.data() + done, text.size() - done);
    if (written < 0) throw Failure(std::string("the result file can't be written: ") + std::strerror(errno));
    done += static_cast<size_t>(written);
  }
}

void ResultFile::error(const std::string& text) { line("{\"error\":" + json_text(text) + "}"); }

std::string Timing::json() const {
  return "\"load_ns\":" + std::to_string(load_ns) + ",\"first_ns\":" + std::to_string(first_ns) +
         ",\"samples_ns\":" + json_numbers(samples_ns) + ",\"peak_rss_kb\":" + std::to_string(peak_memory_kb());
}

int64_t now_ns() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<int64_t>(time.tv_sec) * 1000000000 + time.tv_nsec;
}

void reset_peak_memory() { std::ofstream("/proc/self/clear_refs") << "5"; }

void report_crashes(const ResultFile& results) {
  crash_handle = results.handle();
  for (int signal : {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL}) {
    struct sigaction action = {};
    action.sa_handler = crashed;
    sigaction(signal, &action, nullptr);
  }
}

}  // namespace runner
