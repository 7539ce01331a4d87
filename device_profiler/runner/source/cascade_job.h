// Runs the cascade of a job over its images and reports each.
#pragma once

#include "calls.h"

namespace runner {

void run_cascade(const Job& job, Model& model, int64_t model_load_ns, Files& files);

}  // namespace runner
