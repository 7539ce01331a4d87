// Drives a deployment as an app would: stages in order, out at the first whose confidence >= its threshold (float32).
// The runner that times deployments on phones and the reference code in every bundle are this same code.
#pragma once

#include <string>
#include <vector>

#include "model.h"

namespace runner {

struct Stage {
  std::string entry;
  bool last = false;
  float threshold = 0.0f;  // of every stage but the last
};

struct Plan {
  std::vector<Stage> stages;
  std::vector<std::string> finish;  // one a stage but the last, which gives labels itself
};

// Told of every entry that ran, and asked before each next stage whether there is time for it.
class Watch {
 public:
  virtual ~Watch() = default;
  virtual void ran(const std::string& entry) = 0;
  virtual bool go_on(size_t stage) = 0;  // from `stage`, whose confidence was too low to leave with
};

class Cascade {
 public:
  // Opens the plan's entries and connects them; Failure where they don't fit each other. The model must outlive the cascade.
  Cascade(Plan plan, Model& model);

  // What the first stage takes, and the one buffer for all images: fill it, then run.
  const TensorType& image_type() const { return stages_[0].inputs[0]; }
  void* image() { return image_.data.get(); }

  // The whole path of the image: stages, decisions, finish. `limits`: one a stage but the last, instead of the thresholds.
  void run();
  void run(const std::vector<float>& limits, Watch* watch = nullptr);

  const Plan& plan() const { return plan_; }
  std::vector<float> thresholds() const;

  // Of the run before: the stage it left at, the confidences met on the way, and the labels as uint8.
  size_t exit() const { return exit_; }
  const std::vector<float>& confidences() const { return confidences_; }
  const TensorType& labels_type() const;
  std::vector<uint8_t> labels() const;

 private:
  void run_entry(const std::string& entry, Watch* watch);
  void open_stages();
  void open_finish();
  void check_confidence(size_t stage) const;
  float confidence(size_t stage) const;
  const std::string& labels_entry() const;

  const Plan plan_;
  Model& model_;
  std::vector<float> thresholds_;
  std::vector<Signature> stages_;
  std::vector<Signature> finish_;
  Tensor image_;
  std::vector<float> confidences_;
  size_t exit_ = 0;
};

}  // namespace runner
