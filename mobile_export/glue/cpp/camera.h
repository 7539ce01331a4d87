// SPDX-License-Identifier: Apache-2.0
// From a camera's frame to an RGB image of the network's size.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace runner {

// RGB bytes, row by row.
struct Image {
  size_t width = 0;
  size_t height = 0;
  std::vector<uint8_t> rgb;
};

enum class Matrix { bt601, bt709 };

// Android: width * height bytes of Y, then Cr and Cb in turn for each 2x2 pixels. Failure when a side is odd.
Image rgb_from_nv21(const uint8_t* frame, size_t width, size_t height, Matrix matrix = Matrix::bt601, bool video_range = false);

// Apple: a plane of Y and one of Cb, Cr pairs, each with its row stride in bytes; 420f is video_range = false.
Image rgb_from_420v(const uint8_t* y, size_t y_stride, const uint8_t* cbcr, size_t cbcr_stride, size_t width, size_t height,
                    Matrix matrix = Matrix::bt709, bool video_range = true);

// The triangle filter, widened when shrinking: Pillow's BILINEAR, to a step of 1 where that filters
// columns before rows. The shape is not kept.
Image resize(const Image& image, size_t width, size_t height);

// A binary PPM (P6, channels = 3) or PGM (P5, channels = 1) of 8 bits; Failure when it is something else.
Image read_pnm(const std::string& path, size_t channels);
void write_pgm(const std::string& path, const std::vector<uint8_t>& values, size_t width, size_t height);

}  // namespace runner
