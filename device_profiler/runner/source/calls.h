// Runs the entry points of a job one after the other and reports each.
#pragma once

#include "job.h"
#include "model.h"
#include "results.h"

namespace runner {

// Where a job reads and writes.
struct Files {
  InputFile inputs;
  OutputFile outputs;
  ResultFile& results;
};

void run_calls(const Job& job, Model& model, int64_t model_load_ns, Files& files);

// First run, warm-up, samples: `once` is what is timed.
template <typename Once>
void time_runs(const Job& job, Timing& timing, Once once) {
  const auto timed = [&once] {
    const int64_t start = now_ns();
    once();
    return now_ns() - start;
  };
  timing.first_ns = timed();
  if (job.returns()) return;  // samples are taken by visits
  for (int i = 0; i < job.warmup; ++i) once();
  timing.samples_ns.clear();
  timing.samples_ns.reserve(static_cast<size_t>(job.iterations));
  for (int i = 0; i < job.iterations; ++i) timing.samples_ns.push_back(timed());
}

}  // namespace runner
