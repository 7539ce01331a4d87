#include "visits.h"

#include <cstring>
#include <memory>

#include "model.h"

namespace runner {
namespace {

// The golden model, on zeros: its time does not depend on them.
class Golden {
 public:
  Golden(const Job& job) : entry_(job.golden_entry), model_(load_model(job.golden, job.threads)) {
    const Signature signature = model_->open(entry_);
    for (size_t i = 0; i < signature.inputs.size(); ++i) {
      inputs_.push_back({signature.inputs[i], allocate(signature.inputs[i].bytes())});
      std::memset(inputs_.back().data.get(), 0, signature.inputs[i].bytes());
      model_->bind(entry_, i, inputs_.back());
    }
  }

  void run() { model_->run(entry_); }

 private:
  std::string entry_;
  std::vector<Tensor> inputs_;
  std::unique_ptr<Model> model_;  // goes before the inputs that it reads
};

int64_t timed(const std::function<void()>& once) {
  const int64_t start = now_ns();
  once();
  return now_ns() - start;
}

// Coefficient of variation over the last `window` values <= permille / 1000; without square roots.
bool calm(const std::vector<int64_t>& values, const Settle& settle) {
  const size_t window = static_cast<size_t>(settle.window);
  if (values.size() < window) return false;
  double sum = 0.0;
  double squares = 0.0;
  for (size_t i = values.size() - window; i < values.size(); ++i) {
    const double value = static_cast<double>(values[i]);
    sum += value;
    squares += value * value;
  }
  const double count = static_cast<double>(window);
  const double mean = sum / count;
  const double limit = settle.permille / 1000.0 * mean;
  return squares / count - mean * mean <= limit * limit;
}

void visit(const Job& job, size_t index, ResultFile& results, const std::function<void()>& once) {
  std::vector<int64_t> warmup;
  std::vector<int64_t> samples;
  const int64_t start = now_ns();
  while (static_cast<int>(warmup.size()) < job.settle.most && !calm(warmup, job.settle)) warmup.push_back(timed(once));
  const bool settled = job.settle.window == 0 || calm(warmup, job.settle);
  for (int i = 0; i < job.iterations; ++i) samples.push_back(timed(once));
  results.line("{\"visit\":" + std::to_string(index) + ",\"start_ns\":" + std::to_string(start) + ",\"warmup_ns\":" + json_numbers(warmup) +
               ",\"settled\":" + (settled ? "true" : "false") + ",\"samples_ns\":" + json_numbers(samples) + "}");
}

void sustain(const Sustain& asked, ResultFile& results, const std::function<void()>& once) {
  const int64_t start = now_ns();
  for (int64_t window = 0; now_ns() - start < asked.seconds * 1000000000; ++window) {
    std::vector<int64_t> samples;
    const int64_t window_start = now_ns();
    do samples.push_back(timed(once));
    while (now_ns() - window_start < asked.window_ms * 1000000);
    results.line("{\"window\":" + std::to_string(window) + ",\"start_ns\":" + std::to_string(window_start - start) +
                 ",\"samples_ns\":" + json_numbers(samples) + "}");
  }
}

}  // namespace

void run_visits(const Job& job, ResultFile& results, const RunSubject& run) {
  std::unique_ptr<Golden> golden;
  if (!job.golden.empty()) golden = std::make_unique<Golden>(job);
  for (size_t index = 0; index < job.visits.size(); ++index) {
    const int subject = job.visits[index];
    if (subject == kGolden) visit(job, index, results, [&] { golden->run(); });
    else visit(job, index, results, [&] { run(subject); });
  }
  for (const Sustain& asked : job.sustain) sustain(asked, results, [&] { run(asked.subject); });
}

}  // namespace runner
