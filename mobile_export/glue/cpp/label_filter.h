// SPDX-License-Identifier: Apache-2.0
// Steady labels over video.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace runner {

// A pixel takes a new label once it was seen in `frames` frames in a row.
class LabelFilter {
 public:
  explicit LabelFilter(int frames) : frames_(frames) {}

  void reset() { shown_.clear(); }

  const std::vector<uint8_t>& operator()(const std::vector<uint8_t>& labels) {
    if (frames_ <= 1 || shown_.size() != labels.size()) {
      shown_ = labels;
      count_.assign(labels.size(), 0);
    } else {
      for (size_t i = 0; i < labels.size(); ++i) update(i, labels[i]);
    }
    before_ = labels;
    return shown_;
  }

 private:
  void update(size_t i, uint8_t label) {
    count_[i] = label == before_[i] ? std::min(count_[i] + 1, frames_) : 1;
    if (count_[i] >= frames_) shown_[i] = label;
  }

  int frames_;
  std::vector<uint8_t> shown_, before_;
  std::vector<int> count_;
};

}  // namespace runner
