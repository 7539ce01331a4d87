// SPDX-License-Identifier: Apache-2.0
#include "camera.h"

#include <algorithm>
#include <cmath>
#include <fstream>

#include "tensor.h"

namespace runner {
namespace {

uint8_t to_byte(float value) { return static_cast<uint8_t>(std::clamp(std::floor(value + 0.5f), 0.0f, 255.0f)); }

// One chroma sample as real values around 0.
struct Chroma {
  float cb;
  float cr;
};

// R = Y + 2(1-Kr)Cr, B = Y + 2(1-Kb)Cb, G from Y = Kr R + Kg G + Kb B (ITU-R BT.601 and BT.709).
class Converter {
 public:
  Converter(Matrix matrix, bool video_range)
      : kr_(matrix == Matrix::bt601 ? 0.299f : 0.2126f),
        kb_(matrix == Matrix::bt601 ? 0.114f : 0.0722f),
        offset_(video_range ? 16.0f : 0.0f),
        y_scale_(video_range ? 255.0f / 219.0f : 1.0f),
        c_scale_(video_range ? 255.0f / 224.0f : 1.0f) {}

  Chroma chroma(uint8_t cb, uint8_t cr) const { return {(cb - 128.0f) * c_scale_, (cr - 128.0f) * c_scale_}; }

  void pixel(uint8_t y, const Chroma& chroma, uint8_t* rgb) const {
    const float luma = (y - offset_) * y_scale_;
    const float red = luma + 2.0f * (1.0f - kr_) * chroma.cr, blue = luma + 2.0f * (1.0f - kb_) * chroma.cb;
    rgb[0] = to_byte(red);
    rgb[1] = to_byte((luma - kr_ * red - kb_ * blue) / (1.0f - kr_ - kb_));
    rgb[2] = to_byte(blue);
  }

 private:
  float kr_, kb_, offset_, y_scale_, c_scale_;
};

// Weights of the source pixels that one target pixel is made of, in 1 / 2^22: Pillow's arithmetic, so its results.
constexpr int kPrecision = 22;
struct Taps {
  size_t first;
  std::vector<int32_t> weights;
};

std::vector<Taps> triangle(size_t source, size_t target) {
  const double scale = static_cast<double>(source) / static_cast<double>(target);
  const double reach = std::max(scale, 1.0), narrowing = 1.0 / reach;
  std::vector<Taps> all;
  for (size_t i = 0; i < target; ++i) {
    const double centre = (static_cast<double>(i) + 0.5) * scale;
    const auto first = static_cast<size_t>(std::max(0.0, std::floor(centre - reach + 0.5)));
    const auto end = std::min(source, static_cast<size_t>(std::floor(centre + reach + 0.5)));
    std::vector<double> weights;
    double total = 0;
    for (size_t x = first; x < end; ++x) {
      weights.push_back(std::max(0.0, 1.0 - std::abs((static_cast<double>(x) - centre + 0.5) * narrowing)));
      total += weights.back();
    }
    Taps taps{first, {}};
    for (const double weight : weights) taps.weights.push_back(static_cast<int32_t>(0.5 + weight / total * (1 << kPrecision)));
    all.push_back(std::move(taps));
  }
  return all;
}

// `lines` rows or columns of `taps.size()` pixels each; `step` and `stride` are the distances between pixels and lines.
void filter(const std::vector<Taps>& taps, const uint8_t* from, size_t from_step, size_t from_stride, uint8_t* to, size_t to_step,
            size_t to_stride, size_t lines) {
  for (size_t line = 0; line < lines; ++line) {
    for (size_t i = 0; i < taps.size(); ++i) {
      for (size_t c = 0; c < 3; ++c) {
        int32_t sum = 1 << (kPrecision - 1);
        for (size_t k = 0; k < taps[i].weights.size(); ++k) sum += taps[i].weights[k] * from[line * from_stride + (taps[i].first + k) * from_step + c];
        to[line * to_stride + i * to_step + c] = static_cast<uint8_t>(std::clamp(sum >> kPrecision, 0, 255));
      }
    }
  }
}

}  // namespace

Image rgb_from_nv21(const uint8_t* frame, size_t width, size_t height, Matrix matrix, bool video_range) {
  if (width % 2 || height % 2) throw Failure("an NV21 frame has even sides, not " + std::to_string(width) + "x" + std::to_string(height));
  const Converter convert(matrix, video_range);
  Image image{width, height, std::vector<uint8_t>(width * height * 3)};
  for (size_t row = 0; row < height; ++row) {
    const uint8_t* crcb = frame + width * height + row / 2 * width;
    for (size_t x = 0; x < width; ++x) {
      convert.pixel(frame[row * width + x], convert.chroma(crcb[x / 2 * 2 + 1], crcb[x / 2 * 2]), &image.rgb[(row * width + x) * 3]);
    }
  }
  return image;
}

Image rgb_from_420v(const uint8_t* y, size_t y_stride, const uint8_t* cbcr, size_t cbcr_stride, size_t width, size_t height, Matrix matrix,
                    bool video_range) {
  const Converter convert(matrix, video_range);
  Image image{width, height, std::vector<uint8_t>(width * height * 3)};
  for (size_t row = 0; row < height; ++row) {
    const uint8_t* pairs = cbcr + row / 2 * cbcr_stride;
    for (size_t x = 0; x < width; ++x) {
      convert.pixel(y[row * y_stride + x], convert.chroma(pairs[x / 2 * 2], pairs[x / 2 * 2 + 1]), &image.rgb[(row * width + x) * 3]);
    }
  }
  return image;
}

Image resize(const Image& image, size_t width, size_t height) {
  if (image.width == width && image.height == height) return image;
  Image narrow{width, image.height, std::vector<uint8_t>(width * image.height * 3)};
  filter(triangle(image.width, width), image.rgb.data(), 3, image.width * 3, narrow.rgb.data(), 3, width * 3, image.height);
  Image small{width, height, std::vector<uint8_t>(width * height * 3)};
  filter(triangle(image.height, height), narrow.rgb.data(), width * 3, 3, small.rgb.data(), width * 3, 3, width);
  return small;
}

Image read_pnm(const std::string& path, size_t channels) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream) throw Failure("no image at " + path);
  std::string magic;
  size_t highest = 0;
  Image image;
  stream >> magic >> image.width >> image.height >> highest;
  stream.get();
  const std::string wanted = channels == 3 ? "P6" : "P5";
  if (!stream || magic != wanted || highest != 255 || image.width > 1 << 15 || image.height > 1 << 15) {
    throw Failure(path + " is no binary " + wanted + " image of 8 bits");
  }
  image.rgb.resize(image.width * image.height * channels);
  if (!stream.read(reinterpret_cast<char*>(image.rgb.data()), static_cast<std::streamsize>(image.rgb.size()))) throw Failure(path + " is cut short");
  return image;
}

void write_pgm(const std::string& path, const std::vector<uint8_t>& values, size_t width, size_t height) {
  std::ofstream stream(path, std::ios::binary);
  stream << "P5\n" << width << " " << height << "\n255\n";
  stream.write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(values.size()));
  if (!stream.flush()) throw Failure("can't write " + path);
}

}  // namespace runner
