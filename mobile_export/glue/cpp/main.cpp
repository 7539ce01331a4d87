// SPDX-License-Identifier: Apache-2.0
// segment BUNDLE [IMAGE.ppm LABELS.pgm]: the self-check, then an image where one is given. Exit codes: 0 done, 2 bad input,
// 5 the self-check failed.
#include <iostream>

#include "segmenter.h"

namespace {

void segment(runner::Segmenter& segmenter, const std::string& image, const std::string& labels) {
  const runner::Result result = segmenter.run(runner::read_pnm(image, 3));
  runner::write_pgm(labels, result.labels, result.width, result.height);
  std::cout << "exit " << result.exit << " confidences";
  for (const float confidence : result.confidences) std::cout << " " << confidence;
  std::cout << "\n";
}

}  // namespace

int main(int count, char** words) {
  if (count != 2 && count != 4) {
    std::cerr << "usage: " << words[0] << " BUNDLE [IMAGE.ppm LABELS.pgm]\n";
    return 2;
  }
  try {
    runner::Segmenter segmenter(words[1]);
    try {
      for (const std::string& line : segmenter.self_check()) std::cout << line << "\n";
    } catch (const runner::Failure& failure) {
      std::cerr << "error: " << failure.what() << "\n";
      return 5;
    }
    if (count == 4) segment(segmenter, words[2], words[3]);
    return 0;
  } catch (const std::exception& failure) {
    std::cerr << "error: " << failure.what() << "\n";
    return 2;
  }
}
