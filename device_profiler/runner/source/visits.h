// Coming back to what already ran: visits that are compared with one another inside one process, and sustained runs.
#pragma once

#include <functional>

#include "job.h"
#include "results.h"

namespace runner {

// Runs a call or path by its number, once.
using RunSubject = std::function<void(int)>;

// The job's visits in order, then its sustained run.
void run_visits(const Job& job, ResultFile& results, const RunSubject& run);

}  // namespace runner
