#include "cascade.h"

#include <utility>

namespace runner {
namespace {

// Where the outputs of a stage lie: (features, logits, confidence); the last one gives (labels,).
constexpr size_t kFeatures = 0;
constexpr size_t kLogits = 1;
constexpr size_t kConfidence = 2;

uint8_t label(const void* data, const TensorType& type, size_t index) {
  int64_t value = 0;
  if (type.dtype == "int32") value = static_cast<const int32_t*>(data)[index];
  else if (type.dtype == "int64") value = static_cast<const int64_t*>(data)[index];
  else if (type.dtype == "uint8") value = static_cast<const uint8_t*>(data)[index];
  else if (type.dtype == "int8" && !type.quantized) value = static_cast<const int8_t*>(data)[index];
  else throw Failure("the label map is " + type.text() + "; it must be int32, int64, int8 or uint8 and not quantised");
  if (value < 0 || value > 255) throw Failure("label " + std::to_string(value) + " is outside 0 to 255");
  return static_cast<uint8_t>(value);
}

void expect_count(const std::string& entry, const char* what, size_t found, size_t wanted) {
  if (found == wanted) return;
  throw Failure("entry " + entry + " has " + std::to_string(found) + " " + what + ", a cascade needs " + std::to_string(wanted));
}

// A silent cast between different quantisations would change every later confidence: refuse.
void expect_equal(const std::string& from, const TensorType& produced, const std::string& to, const TensorType& taken) {
  if (produced == taken) return;
  throw Failure(from + " hands on " + produced.text() + " but " + to + " takes " + taken.text());
}

}  // namespace

Cascade::Cascade(Plan plan, Model& model) : plan_(std::move(plan)), model_(model) {
  for (const Stage& stage : plan_.stages) {
    if (!stage.last) thresholds_.push_back(stage.threshold);
  }
  open_stages();
  open_finish();
  image_ = {image_type(), allocate(image_type().bytes())};
  model_.bind(plan_.stages[0].entry, 0, image_);
  for (size_t s = 0; s + 1 < stages_.size(); ++s) check_confidence(s);
}

void Cascade::run() { run(thresholds_); }

void Cascade::run(const std::vector<float>& limits, Watch* watch) {
  confidences_.clear();
  for (exit_ = 0; exit_ < plan_.stages.size(); ++exit_) {
    const Stage& stage = plan_.stages[exit_];
    run_entry(stage.entry, watch);
    if (stage.last) break;
    confidences_.push_back(confidence(exit_));
    if (confidences_.back() >= limits[exit_]) break;
    if (watch && !watch->go_on(exit_)) break;
  }
  if (!plan_.stages[exit_].last) run_entry(plan_.finish[exit_], watch);
}

void Cascade::run_entry(const std::string& entry, Watch* watch) {
  model_.run(entry);
  if (watch) watch->ran(entry);
}

std::vector<float> Cascade::thresholds() const { return thresholds_; }

const TensorType& Cascade::labels_type() const { return plan_.stages[exit_].last ? stages_[exit_].outputs[0] : finish_[exit_].outputs[0]; }

std::vector<uint8_t> Cascade::labels() const {
  std::vector<uint8_t> narrow;
  const void* data = model_.output(labels_entry(), 0);
  const TensorType& type = labels_type();
  const size_t count = type.elements();
  narrow.reserve(count);
  for (size_t i = 0; i < count; ++i) narrow.push_back(label(data, type, i));
  return narrow;
}

const std::string& Cascade::labels_entry() const { return plan_.stages[exit_].last ? plan_.stages[exit_].entry : plan_.finish[exit_]; }

void Cascade::open_stages() {
  for (size_t s = 0; s < plan_.stages.size(); ++s) {
    const Stage& stage = plan_.stages[s];
    stages_.push_back(model_.open(stage.entry));
    expect_count(stage.entry, "inputs", stages_[s].inputs.size(), 1);
    expect_count(stage.entry, "outputs", stages_[s].outputs.size(), stage.last ? 1 : 3);
    if (s == 0) continue;
    const std::string& before = plan_.stages[s - 1].entry;
    expect_equal(before, stages_[s - 1].outputs[kFeatures], stage.entry, stages_[s].inputs[0]);
    model_.bind(stage.entry, 0, before, kFeatures);
  }
}

void Cascade::open_finish() {
  for (size_t s = 0; s < plan_.finish.size(); ++s) {
    const std::string& entry = plan_.finish[s];
    const std::string& stage = plan_.stages[s].entry;
    finish_.push_back(model_.open(entry));
    expect_count(entry, "inputs", finish_[s].inputs.size(), 1);
    expect_count(entry, "outputs", finish_[s].outputs.size(), 1);
    expect_equal(stage, stages_[s].outputs[kLogits], entry, finish_[s].inputs[0]);
    for (size_t other = 0; other < s; ++other) {
      if (plan_.finish[other] == entry) throw Failure("entry " + entry + " finishes two stages; each stage needs its own");
    }
    model_.bind(entry, 0, stage, kLogits);
  }
}

void Cascade::check_confidence(size_t stage) const {
  const TensorType& type = stages_[stage].outputs[kConfidence];
  const bool real = type.dtype == "float32" && !type.quantized;
  const bool affine = (type.dtype == "int8" || type.dtype == "uint8") && type.quantized;
  if (type.elements() == 1 && (real || affine)) return;
  throw Failure("the confidence of " + plan_.stages[stage].entry + " is " + type.text() + "; it must be one float32 or one quantised int8");
}

float Cascade::confidence(size_t stage) const {
  const TensorType& type = stages_[stage].outputs[kConfidence];
  const void* data = model_.output(plan_.stages[stage].entry, kConfidence);
  if (type.dtype == "float32") return *static_cast<const float*>(data);
  const int64_t stored = type.dtype == "int8" ? *static_cast<const int8_t*>(data) : *static_cast<const uint8_t*>(data);
  return type.scale * static_cast<float>(stored - type.zero_point);
}

}  // namespace runner
