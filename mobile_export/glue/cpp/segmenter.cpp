// SPDX-License-Identifier: Apache-2.0
#include "segmenter.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <limits>
#include <sstream>

namespace runner {
namespace {

Json read_manifest(const std::string& folder) {
  std::ifstream stream(folder + "/manifest.json", std::ios::binary);
  if (!stream) throw Failure("no bundle in " + folder + ": manifest.json is missing");
  std::ostringstream content;
  content << stream.rdbuf();
  Json manifest = Json::parse(content.str());
  const int schema = static_cast<int>(manifest["schema"].number());
  if (schema > kSchema) {
    throw Failure("manifest.json has schema " + std::to_string(schema) + ", this code reads up to " + std::to_string(kSchema) +
                  ": use the bundle's own glue");
  }
  return manifest;
}

float real(const Json& value) { return static_cast<float>(value.number()); }

double member(const Json& object, const std::string& name, double otherwise) { return object.has(name) ? object[name].number() : otherwise; }

float channel(const Json& input, const std::string& name, size_t index, float otherwise) {
  return input.has(name) ? real(input[name].list().at(index)) : otherwise;
}

Plan plan_of(const Json& stages) {
  Plan plan;
  const size_t count = stages.list().size();
  for (const Json& stage : stages.list()) {
    const bool last = plan.stages.size() + 1 == count;
    // Without a threshold (anytime) no confidence is enough: only a deadline ends before the last stage.
    const float limit = stage["threshold"].is_null() ? std::numeric_limits<float>::infinity() : real(stage["threshold"]);
    plan.stages.push_back({stage["entry"].text(), last, limit});
    if (!stage["finish"].is_null()) plan.finish.push_back(stage["finish"].text());
  }
  if (plan.stages.empty()) throw Failure("manifest.json has no stages");
  return plan;
}

// How a byte is stored, by channel: a table of 256 values.
template <typename Stored>
std::vector<Stored> table(const Json& input, size_t index) {
  const float low = static_cast<float>(member(input, "low", 0)), high = static_cast<float>(member(input, "high", 255));
  const float mean = channel(input, "mean", index, 0), deviation = channel(input, "std", index, 1);
  std::vector<Stored> values;
  for (int byte = 0; byte < 256; ++byte) {
    float value = (low + static_cast<float>(byte) * ((high - low) / 255.0f) - mean) / deviation;
    if (input.has("quantization") && !input["quantization"].is_null()) {
      const float zero = real(input["quantization"]["zero_point"]);
      value = std::nearbyint(value / real(input["quantization"]["scale"])) + zero;
      value = std::clamp(value, static_cast<float>(std::numeric_limits<Stored>::lowest()), static_cast<float>(std::numeric_limits<Stored>::max()));
    }
    values.push_back(static_cast<Stored>(value));
  }
  return values;
}

template <typename Stored>
void store(const Image& image, const Json& input, void* memory) {
  auto* out = static_cast<Stored*>(memory);
  const size_t pixels = image.width * image.height;
  const bool planar = input["layout"].text() == "NCHW";
  for (size_t c = 0; c < 3; ++c) {
    const std::vector<Stored> values = table<Stored>(input, c);
    for (size_t i = 0; i < pixels; ++i) out[planar ? c * pixels + i : i * 3 + c] = values[image.rgb[i * 3 + c]];
  }
}

void store_image(const Image& image, const Json& input, Cascade& cascade) {
  const std::string& dtype = input["dtype"].text();
  if (cascade.image_type().dtype != dtype || cascade.image_type().elements() != image.rgb.size()) {
    throw Failure("the model takes " + cascade.image_type().text() + ", manifest.json says otherwise");
  }
  if (dtype == "float32") store<float>(image, input, cascade.image());
  else if (dtype == "int8") store<int8_t>(image, input, cascade.image());
  else if (dtype == "uint8") store<uint8_t>(image, input, cascade.image());
  else throw Failure("an image of dtype " + dtype + " is not supported");
}

}  // namespace

Segmenter::Segmenter(const std::string& folder, int threads)
    : folder_(folder), manifest_(read_manifest(folder)), filter_(1) {
  model_ = load_model(folder + "/" + manifest_["artifact"]["path"].text(), threads);
  add_resolution(manifest_["input"], manifest_["stages"]);
  if (manifest_.has("resolutions")) {
    for (const Json& other : manifest_["resolutions"].list()) add_resolution(other["input"], other["stages"]);
  }
  if (!manifest_.has("temporal")) return;
  exit_margin_ = static_cast<float>(member(manifest_["temporal"], "exit_margin", 0));
  filter_ = LabelFilter(static_cast<int>(member(manifest_["temporal"], "label_frames", 1)));
}

void Segmenter::add_resolution(const Json& input, const Json& stages) {
  Resolution resolution{&input, {}, std::make_unique<Cascade>(plan_of(stages), *model_), 0, 0};
  for (const Json& stage : stages.list()) resolution.exits.push_back(stage["exit"].text());
  resolution.height = static_cast<size_t>(input["size"].list().at(0).number());
  resolution.width = static_cast<size_t>(input["size"].list().at(1).number());
  resolutions_.push_back(std::move(resolution));
}

// The shape nearest to the image's: portrait for portrait.
Segmenter::Resolution& Segmenter::nearest(size_t width, size_t height) {
  const double wanted = std::log(static_cast<double>(width) / static_cast<double>(height));
  const auto stretch = [&](const Resolution& one) { return std::abs(wanted - std::log(static_cast<double>(one.width) / static_cast<double>(one.height))); };
  return *std::min_element(resolutions_.begin(), resolutions_.end(), [&](const Resolution& a, const Resolution& b) { return stretch(a) < stretch(b); });
}

void Segmenter::new_sequence() {
  previous_ = 0;
  filter_.reset();
}

Result Segmenter::run(const Image& image) { return run(image, kNever); }

Result Segmenter::run(const Image& image, std::chrono::nanoseconds deadline) { return run(image, Pace::Clock::now() + deadline); }

Result Segmenter::run(const Image& image, Pace::Clock::time_point ends) {
  if (image.width == 0 || image.height == 0 || image.rgb.size() != image.width * image.height * 3) {
    throw Failure("an image has 3 bytes a pixel, not " + std::to_string(image.rgb.size()) + " for " + std::to_string(image.width) + "x" +
                  std::to_string(image.height));
  }
  Resolution& resolution = nearest(image.width, image.height);
  std::vector<float> limits = resolution.cascade->thresholds();
  for (size_t n = 0; n < limits.size() && n < previous_; ++n) limits[n] += exit_margin_;
  Result result = run(resolution, image, limits, ends);
  previous_ = result.exit;
  result.labels = filter_(result.labels);
  return result;
}

Result Segmenter::run(Resolution& resolution, const Image& image, const std::vector<float>& limits, Pace::Clock::time_point ends) {
  Cascade& cascade = *resolution.cascade;
  store_image(resize(image, resolution.width, resolution.height), *resolution.input, cascade);
  const auto start = std::chrono::steady_clock::now();
  pace_.begin(cascade.plan(), ends);
  cascade.run(limits, &pace_);
  const auto spent = std::chrono::steady_clock::now() - start;
  const std::vector<int64_t>& shape = cascade.labels_type().shape;
  return {cascade.exit(),
          cascade.confidences(),
          cascade.labels(),
          static_cast<size_t>(shape[shape.size() - 1]),
          static_cast<size_t>(shape[shape.size() - 2]),
          std::chrono::duration_cast<std::chrono::nanoseconds>(spent).count()};
}

std::vector<std::string> Segmenter::self_check() {
  const Json& check = manifest_["self_check"];
  Resolution& resolution = resolutions_[0];
  const Image sample = read_pnm(folder_ + "/" + check["image"].text(), 3);
  const size_t exit = run(resolution, sample, resolution.cascade->thresholds()).exit;
  const auto expected = static_cast<size_t>(check["exit"].number());
  if (exit != expected) throw Failure("self-check failed: the sample leaves at exit " + std::to_string(exit) + ", not " + std::to_string(expected));
  std::vector<std::string> lines = {"the sample leaves at " + resolution.exits.at(exit) + ", as expected"};
  constexpr float kNever = std::numeric_limits<float>::infinity();
  for (size_t n = 0; n < resolution.exits.size(); ++n) {
    std::vector<float> limits(resolution.exits.size() - 1, -kNever);
    std::fill_n(limits.begin(), n, kNever);
    const Result result = run(resolution, sample, limits);
    lines.push_back(compare(resolution.exits[n], result, check["answers"].list().at(n), check));
  }
  return lines;
}

std::string Segmenter::compare(const std::string& exit, const Result& result, const Json& answer, const Json& check) const {
  const Image expected = read_pnm(folder_ + "/" + answer["labels"].text(), 1);
  if (expected.rgb.size() != result.labels.size()) throw Failure("self-check failed at " + exit + ": labels of another size");
  size_t equal = 0;
  for (size_t i = 0; i < result.labels.size(); ++i) equal += result.labels[i] == expected.rgb[i];
  const double share = static_cast<double>(equal) / static_cast<double>(result.labels.size());
  double error = 0;
  for (size_t i = 0; i < result.confidences.size(); ++i) {
    error = std::max(error, std::abs(result.confidences[i] - answer["confidences"].list().at(i).number()));
  }
  char figures[160];
  std::snprintf(figures, sizeof figures, "%.4f of the labels agree (%g must), confidences differ by %.2g (%g may)", share,
                check["label_agreement"].number(), error, check["confidence_tolerance"].number());
  const bool held = share >= check["label_agreement"].number() && error <= check["confidence_tolerance"].number();
  if (!held) throw Failure("self-check failed at " + exit + ": " + figures);
  return exit + ": " + figures;
}

}  // namespace runner
