#include "cascade.h"

namespace runner {
namespace {

// Where the outputs of a stage lie: (features, logits, confidence), and (logits,) for the last one.
constexpr size_t kFeatures = 0;
constexpr size_t kLogits = 1;
constexpr size_t kConfidence = 2;

class Cascade {
 public:
  Cascade(const Job& job, Model& model) : job_(job), model_(model) {
    open_stages();
    open_finish();
    image_ = {image_type(), allocate(image_type().bytes())};
    model_.bind(job_.stages[0].entry, 0, image_);
    for (size_t s = 0; s + 1 < stages_.size(); ++s) check_confidence(s);
  }

  const TensorType& image_type() const { return stages_[0].inputs[0]; }

  void read_image(const Stored& image, InputFile& file) { file.read(image, image_.data.get()); }

  // The whole path of the image that was read: stages, decisions, finish.
  void run() {
    confidences_.clear();
    for (exit_ = 0; exit_ < job_.stages.size(); ++exit_) {
      const StageJob& stage = job_.stages[exit_];
      model_.run(stage.entry);
      if (stage.last) break;
      confidences_.push_back(confidence(exit_));
      if (confidences_.back() >= stage.threshold) break;
    }
    if (!job_.finish.empty()) model_.run(job_.finish[exit_]);
  }

  size_t exit() const { return exit_; }
  const std::vector<float>& confidences() const { return confidences_; }

  // Labels of the exit taken, as uint8 [1, H, W].
  std::vector<uint8_t> labels() const {
    std::vector<uint8_t> narrow;
    const void* data = model_.output(labels_entry(), 0);
    const TensorType& type = labels_type();
    const size_t count = type.elements();
    narrow.reserve(count);
    for (size_t i = 0; i < count; ++i) narrow.push_back(label(data, type, i));
    return narrow;
  }

  const TensorType& labels_type() const { return job_.finish.empty() ? stages_[0].outputs[0] : finish_[exit_].outputs[0]; }

 private:
  const std::string& labels_entry() const { return job_.finish.empty() ? job_.stages[0].entry : job_.finish[exit_]; }

  static uint8_t label(const void* data, const TensorType& type, size_t index) {
    int64_t value = 0;
    if (type.dtype == "int32") value = static_cast<const int32_t*>(data)[index];
    else if (type.dtype == "int64") value = static_cast<const int64_t*>(data)[index];
    else if (type.dtype == "uint8") value = static_cast<const uint8_t*>(data)[index];
    else if (type.dtype == "int8" && !type.quantized) value = static_cast<const int8_t*>(data)[index];
    else throw Failure("the label map is " + type.text() + "; it must be int32, int64, int8 or uint8 and not quantised");
    if (value < 0 || value > 255) throw Failure("label " + std::to_string(value) + " is outside 0 to 255");
    return static_cast<uint8_t>(value);
  }

  static void expect_count(const std::string& entry, const char* what, size_t found, size_t wanted) {
    if (found == wanted) return;
    throw Failure("entry " + entry + " has " + std::to_string(found) + " " + what + ", a cascade needs " + std::to_string(wanted));
  }

  // A silent cast between different quantisations would change every later confidence: refuse.
  static void expect_equal(const std::string& from, const TensorType& produced, const std::string& to, const TensorType& taken) {
    if (produced == taken) return;
    throw Failure(from + " hands on " + produced.text() + " but " + to + " takes " + taken.text());
  }

  void open_stages() {
    for (size_t s = 0; s < job_.stages.size(); ++s) {
      const StageJob& stage = job_.stages[s];
      stages_.push_back(model_.open(stage.entry));
      expect_count(stage.entry, "inputs", stages_[s].inputs.size(), 1);
      expect_count(stage.entry, "outputs", stages_[s].outputs.size(), stage.last ? 1 : 3);
      if (s == 0) continue;
      const std::string& before = job_.stages[s - 1].entry;
      expect_equal(before, stages_[s - 1].outputs[kFeatures], stage.entry, stages_[s].inputs[0]);
      model_.bind(stage.entry, 0, before, kFeatures);
    }
  }

  void open_finish() {
    for (size_t s = 0; s < job_.finish.size(); ++s) {
      const std::string& entry = job_.finish[s];
      const std::string& stage = job_.stages[s].entry;
      const size_t logits = job_.stages[s].last ? 0 : kLogits;
      finish_.push_back(model_.open(entry));
      expect_count(entry, "inputs", finish_[s].inputs.size(), 1);
      expect_count(entry, "outputs", finish_[s].outputs.size(), 1);
      expect_equal(stage, stages_[s].outputs[logits], entry, finish_[s].inputs[0]);
      for (size_t other = 0; other < s; ++other) {
        if (job_.finish[other] == entry) throw Failure("entry " + entry + " finishes two stages; each stage needs its own");
      }
      model_.bind(entry, 0, stage, logits);
    }
  }

  void check_confidence(size_t stage) const {
    const TensorType& type = stages_[stage].outputs[kConfidence];
    const bool real = type.dtype == "float32" && !type.quantized;
    const bool affine = (type.dtype == "int8" || type.dtype == "uint8") && type.quantized;
    if (type.elements() == 1 && (real || affine)) return;
    throw Failure("the confidence of " + job_.stages[stage].entry + " is " + type.text() + "; it must be one float32 or one quantised int8");
  }

  float confidence(size_t stage) const {
    const TensorType& type = stages_[stage].outputs[kConfidence];
    const void* data = model_.output(job_.stages[stage].entry, kConfidence);
    if (type.dtype == "float32") return *static_cast<const float*>(data);
    const int64_t stored = type.dtype == "int8" ? *static_cast<const int8_t*>(data) : *static_cast<const uint8_t*>(data);
    return type.scale * static_cast<float>(stored - type.zero_point);
  }

  const Job& job_;
  Model& model_;
  std::vector<Signature> stages_;
  std::vector<Signature> finish_;
  Tensor image_;  // one buffer for all images, as an app has one for its camera
  std::vector<float> confidences_;
  size_t exit_ = 0;
};

void run_image(const Job& job, size_t index, Cascade& cascade, int64_t load_ns, Files& files) {
  const Stored& image = job.images[index];
  if (!image.type.same_storage(cascade.image_type())) {
    throw Failure("entry " + job.stages[0].entry + " takes " + cascade.image_type().text() + ", image " + std::to_string(index) + " is " +
                  image.type.text());
  }
  reset_peak_memory();
  cascade.read_image(image, files.inputs);
  Timing timing;
  timing.load_ns = load_ns;
  time_runs(job, timing, [&] { cascade.run(); });
  const std::vector<uint8_t> labels = cascade.labels();
  const std::string written = files.outputs.append({"uint8", cascade.labels_type().shape, false, 0.0f, 0}, labels.data());
  files.results.line("{\"image\":" + std::to_string(index) + ",\"exit\":" + std::to_string(cascade.exit()) +
                     ",\"confidences\":" + json_reals(cascade.confidences()) + "," + timing.json() + ",\"labels\":" + written + "}");
}

}  // namespace

void run_cascade(const Job& job, Model& model, int64_t model_load_ns, Files& files) {
  const int64_t start = now_ns();
  Cascade cascade(job, model);
  const int64_t load_ns = model_load_ns + now_ns() - start;
  for (size_t index = 0; index < job.images.size(); ++index) run_image(job, index, cascade, load_ns, files);
}

}  // namespace runner
