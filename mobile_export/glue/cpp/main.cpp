// SPDX-License-Identifier: Apache-2.0
// segment BUNDLE [IMAGE.ppm LABELS.pgm [MILLISECONDS]]: the self-check, then an image where one is given, by a deadline
// where one is given. Exit codes: 0 done, 2 bad input, 5 the self-check failed.
#include <iostream>

#include "segmenter.h"

namespace {

std::chrono::milliseconds duration(const std::string& word) {
  if (word.empty() || word.size() > 9 || word.find_first_not_of("0123456789") != std::string::npos) {
    throw runner::Failure("MILLISECONDS is a whole number such as 20, not '" + word + "'");
  }
  return std::chrono::milliseconds(std::stol(word));
}

void segment(runner::Segmenter& segmenter, const std::string& image, const std::string& labels, const char* milliseconds) {
  const runner::Image read = runner::read_pnm(image, 3);
  const runner::Result result = milliseconds ? segmenter.run(read, duration(milliseconds)) : segmenter.run(read);
  runner::write_pgm(labels, result.labels, result.width, result.height);
  std::cout << "exit " << result.exit << " confidences";
  for (const float confidence : result.confidences) std::cout << " " << confidence;
  std::cout << "\n";
}

}  // namespace

int main(int count, char** words) {
  if (count < 2 || count == 3 || count > 5) {
    std::cerr << "usage: " << words[0] << " BUNDLE [IMAGE.ppm LABELS.pgm [MILLISECONDS]]\n";
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
    if (count > 3) segment(segmenter, words[2], words[3], count > 4 ? words[4] : nullptr);
    return 0;
  } catch (const std::exception& failure) {
    std::cerr << "error: " << failure.what() << "\n";
    return 2;
  }
}
