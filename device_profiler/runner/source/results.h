// The result file: one JSON object a line, appended and flushed as soon as it is known, so that a cut cable loses nothing.
//
//   {"call":0,"entry":"stage_0","load_ns":..,"first_ns":..,"samples_ns":[..],"peak_rss_kb":..,"outputs":[TENSOR,..]}
//   {"image":0,"exit":1,"confidences":[..],"samples_ns":[..],"first_ns":..,"load_ns":..,"peak_rss_kb":..,"labels":TENSOR}
//   {"visit":0,"start_ns":..,"warmup_ns":[..],"settled":true,"samples_ns":[..]}    in the order of the job's visits
//   {"window":0,"start_ns":..,"samples_ns":[..]}                                   of a sustained run
//   {"entry":"stage_0","delegate_calls":1,"kernels":{"argmax.out":1}}              of a watched entry
//   {"error":"text"}                        the job ends here with exit code 1
//   {"done":true}                           the last line of a job that ran to its end
//   TENSOR = {"offset":0,"dtype":"int8","shape":[1,3],"scale":0.5,"zero_point":-3}  (the last two only where quantised): its raw
//   values start at that offset of the outputs file
//
// load_ns: model and entry points made ready; first_ns: the first run; peak_rss_kb: VmHWM since the line before.
#pragma once

#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

#include "tensor.h"

namespace runner {

// JSON values.
std::string json_text(const std::string& text);
std::string json_numbers(const std::vector<int64_t>& values);
std::string json_reals(const std::vector<float>& values);

class ResultFile {
 public:
  explicit ResultFile(const std::string& path);
  ~ResultFile();
  ResultFile(const ResultFile&) = delete;
  ResultFile& operator=(const ResultFile&) = delete;

  void line(const std::string& json);
  void error(const std::string& text);
  int handle() const { return handle_; }

 private:
  int handle_;
};

// The outputs file: values one after the other.
class OutputFile {
 public:
  explicit OutputFile(const std::string& path);
  // Appends and flushes the values; gives back the TENSOR that describes them.
  std::string append(const TensorType& type, const void* data);

 private:
  std::string path_;
  std::ofstream stream_;
  size_t size_ = 0;
};

// What was timed; shared by calls and cascades.
struct Timing {
  int64_t load_ns = 0;
  int64_t first_ns = 0;
  std::vector<int64_t> samples_ns;
  std::string json() const;  // members without braces, peak_rss_kb included
};

int64_t now_ns();

// Restarts VmHWM at the present size where the kernel allows it.
void reset_peak_memory();

// Lets a crash inside a runtime end as an error line and exit code 1 instead of silence.
void report_crashes(const ResultFile& results);

}  // namespace runner
