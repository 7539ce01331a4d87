// The job file: what to run. One directive a line, words separated by single spaces; '#' starts a comment line.
//
//   job 1                                   format version, first line
//   model PATH
//   inputs PATH                             one file with the raw little-endian values of all inputs and images
//   results PATH                            JSON lines are appended here, see results.h
//   outputs PATH                            raw little-endian values of all outputs are written here
//   threads N
//   warmup N                                untimed runs before the samples (the first run of all is reported apart)
//   iterations N                            timed runs; with none, an entry or image runs once
//   limit SECONDS                           wall time after which the runner ends itself, should the host be gone; 0: none
//   call ENTRY                              run one entry point; its inputs follow in order
//   input OFFSET DTYPE EXTENT,EXTENT,...    an input of the call above: where its values start in the inputs file ("-": a scalar)
//   stage ENTRY THRESHOLD|last              stages of a cascade in order
//   finish ENTRY                            one a stage but the last, in order: logits to labels
//   image OFFSET DTYPE EXTENT,...           an image for the cascade
//   golden PATH ENTRY                       a second model, whose inputs are zeros: what `visit golden` runs
//   settle WINDOW PERMILLE MOST             a visit warms up until the coefficient of variation over its last WINDOW runs is at
//                                           most PERMILLE / 1000, for MOST runs at most; without it there is no warm-up
//   visit golden|N                          after all calls or images: call N again (or the path that leaves at exit N),
//                                           warm-up and `iterations` timed runs; one line each
//   sustain N SECONDS WINDOW_MS             after the visits: call or path N without a pause for SECONDS, a line each WINDOW_MS
//   watch ENTRY                             after all that is timed: run ENTRY once on zeros and tell what ran; a line each
//
// Paths are relative to the job file's folder (the runner changes into it). A job has calls, stages and images, or
// watches alone.
#pragma once

#include <fstream>
#include <string>
#include <vector>

#include "tensor.h"

namespace runner {

// Values in the inputs file.
struct Stored {
  size_t offset = 0;
  TensorType type;
};

struct CallJob {
  std::string entry;
  std::vector<Stored> inputs;
};

struct StageJob {
  std::string entry;
  bool last = false;
  float threshold = 0.0f;
};

struct Settle {
  int window = 0;
  int permille = 0;
  int most = 0;
};

// A call or path by its number, or the golden model.
constexpr int kGolden = -1;

struct Sustain {
  int subject = 0;
  int64_t seconds = 0;
  int64_t window_ms = 0;
};

struct Job {
  std::string model;
  std::string inputs;
  std::string results;
  std::string outputs;
  int threads = 1;
  int warmup = 0;
  int iterations = 1;
  unsigned limit_s = 0;
  std::vector<CallJob> calls;
  std::vector<StageJob> stages;
  std::vector<std::string> finish;
  std::vector<Stored> images;
  std::string golden;
  std::string golden_entry;
  Settle settle;
  std::vector<int> visits;
  std::vector<Sustain> sustain;  // none or one
  std::vector<std::string> watches;

  // Whether entries are needed again after they first ran.
  bool returns() const { return !visits.empty() || !sustain.empty(); }
};

// Reads a job; Failure names the line that does not follow the format.
Job read_job(const std::string& path);

// The inputs file, open for reading.
class InputFile {
 public:
  explicit InputFile(const std::string& path);
  // Fills `memory`, which holds as many bytes as the type needs; Failure when the file is too short.
  void read(const Stored& stored, void* memory);
  Tensor read(const Stored& stored);

 private:
  std::string path_;
  std::ifstream stream_;
  size_t size_ = 0;
};

}  // namespace runner
