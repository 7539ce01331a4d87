// Drives a deployment as an app would: stages in order, out at the first whose confidence >= its threshold (float32).
#pragma once

#include "calls.h"

namespace runner {

void run_cascade(const Job& job, Model& model, int64_t model_load_ns, Files& files);

}  // namespace runner
