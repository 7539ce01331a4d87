#include "cascade_job.h"

#include <limits>

#include "cascade.h"
#include "visits.h"

namespace runner {
namespace {

Plan plan_of(const Job& job) {
  Plan plan;
  for (const StageJob& stage : job.stages) plan.stages.push_back({stage.entry, stage.last, stage.threshold});
  plan.finish = job.finish;
  return plan;
}

void run_image(const Job& job, size_t index, Cascade& cascade, int64_t load_ns, Files& files) {
  const Stored& image = job.images[index];
  if (!image.type.same_storage(cascade.image_type())) {
    throw Failure("entry " + job.stages[0].entry + " takes " + cascade.image_type().text() + ", image " + std::to_string(index) + " is " +
                  image.type.text());
  }
  reset_peak_memory();
  files.inputs.read(image, cascade.image());
  Timing timing;
  timing.load_ns = load_ns;
  time_runs(job, timing, [&] { cascade.run(); });
  const std::vector<uint8_t> labels = cascade.labels();
  const std::string written = files.outputs.append({"uint8", cascade.labels_type().shape, false, 0.0f, 0}, labels.data());
  files.results.line("{\"image\":" + std::to_string(index) + ",\"exit\":" + std::to_string(cascade.exit()) +
                     ",\"confidences\":" + json_reals(cascade.confidences()) + "," + timing.json() + ",\"labels\":" + written + "}");
}

// Limits by which every image leaves at `exit`.
std::vector<float> limits_of(const Cascade& cascade, size_t exit) {
  std::vector<float> limits(cascade.plan().stages.size() - 1, std::numeric_limits<float>::infinity());
  if (exit < limits.size()) limits[exit] = -std::numeric_limits<float>::infinity();
  return limits;
}

}  // namespace

void run_cascade(const Job& job, Model& model, int64_t model_load_ns, Files& files) {
  const int64_t start = now_ns();
  Cascade cascade(plan_of(job), model);
  const int64_t load_ns = model_load_ns + now_ns() - start;
  for (size_t index = 0; index < job.images.size(); ++index) run_image(job, index, cascade, load_ns, files);
  std::vector<std::vector<float>> limits;  // made before anything is timed
  for (size_t exit = 0; exit < job.stages.size(); ++exit) limits.push_back(limits_of(cascade, exit));
  run_visits(job, files.results, [&](int exit) { cascade.run(limits[static_cast<size_t>(exit)]); });
}

}  // namespace runner
