// SPDX-License-Identifier: Apache-2.0
// A bundle, loaded and ready for a camera's frames.
//
//   runner::Segmenter segmenter("deployment", 2);
//   segmenter.self_check();                                   // at the first start; Failure says what differs
//   const auto result = segmenter.run(runner::rgb_from_nv21(frame, width, height));
//   const auto in_time = segmenter.run(image, std::chrono::milliseconds(20));    // the best answer by then
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "camera.h"
#include "cascade.h"
#include "json.h"
#include "label_filter.h"
#include "pace.h"

namespace runner {

constexpr int kSchema = 2;  // newest schema of manifest.json that this code reads

struct Result {
  size_t exit = 0;  // the stage it left at
  std::vector<float> confidences;
  std::vector<uint8_t> labels;  // class indices, row by row, at the label map's size of the resolution that ran
  size_t width = 0;
  size_t height = 0;
  int64_t nanoseconds = 0;  // of the stages: without resizing
};

class Segmenter {
 public:
  // Failure: no bundle, a newer schema, a file that the runtime doesn't load. Hashes are the app store's to check.
  explicit Segmenter(const std::string& folder, int threads = 1);

  // The next frame of the sequence; new_sequence() after a cut. A frame leaves at the first exit whose confidence reaches its
  // threshold; where the frame before went deeper, the manifest's exit margin more is asked. A stage that would not end
  // by the deadline, by what it took the last time, is not begun: the answer is that of the exit before it.
  Result run(const Image& image);
  Result run(const Image& image, std::chrono::nanoseconds deadline);
  void new_sequence();

  // The sample image to every exit, held against the validated answers: what held, a line each; Failure says what did not.
  std::vector<std::string> self_check();

  const Json& manifest() const { return manifest_; }

 private:
  static constexpr Pace::Clock::time_point kNever = Pace::Clock::time_point::max();

  // One size that the file runs at; the validated one is the first.
  struct Resolution {
    const Json* input;
    std::vector<std::string> exits;
    std::unique_ptr<Cascade> cascade;
    size_t width;
    size_t height;
  };

  void add_resolution(const Json& input, const Json& stages);
  Resolution& nearest(size_t width, size_t height);
  Result run(const Image& image, Pace::Clock::time_point ends);
  Result run(Resolution& resolution, const Image& image, const std::vector<float>& limits, Pace::Clock::time_point ends = kNever);
  std::string compare(const std::string& exit, const Result& result, const Json& answer, const Json& check) const;

  std::string folder_;
  Json manifest_;
  std::unique_ptr<Model> model_;
  std::vector<Resolution> resolutions_;
  float exit_margin_ = 0;
  LabelFilter filter_;
  Pace pace_;
  size_t previous_ = 0;  // the exit of the frame before; 0 asks for no margin anywhere
};

}  // namespace runner
