// RUNNER JOBFILE: the one command line of both runners. Exit codes: 0 done, 1 a line {"error": ...} says why, 2 the job could not start.
#include <unistd.h>

#include <exception>
#include <iostream>

#include "cascade_job.h"
#include "events.h"

namespace {

// The job's paths are relative to its folder.
std::string enter_folder(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return path;
  if (chdir(path.substr(0, slash + 1).c_str()) != 0) throw runner::Failure("folder of job file " + path + " can't be entered");
  return path.substr(slash + 1);
}

void run_timed(const runner::Job& job, runner::Files& files) {
  const int64_t start = runner::now_ns();
  const std::unique_ptr<runner::Model> model = runner::load_model(job.model, job.threads);
  const int64_t load_ns = runner::now_ns() - start;
  if (job.stages.empty()) {
    runner::run_calls(job, *model, load_ns, files);
  } else {
    runner::run_cascade(job, *model, load_ns, files);
  }
}

void run_job(const runner::Job& job, runner::ResultFile& results) {
  runner::Files files{runner::InputFile(job.inputs), runner::OutputFile(job.outputs), results};
  if (!job.calls.empty() || !job.stages.empty()) run_timed(job, files);
  for (const std::string& entry : job.watches) runner::write_events(entry, runner::watch_entry(job.model, entry), results);
  results.line("{\"done\":true}");
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 2) {
    std::cerr << "usage: " << arguments[0] << " JOBFILE\n";
    return 2;
  }
  try {
    const runner::Job job = runner::read_job(enter_folder(arguments[1]));
    runner::ResultFile results(job.results);
    runner::report_crashes(results);
    alarm(job.limit_s);
    try {
      run_job(job, results);
      return 0;
    } catch (const std::exception& failure) {
      results.error(failure.what());
      return 1;
    }
  } catch (const std::exception& failure) {
    std::cerr << failure.what() << "\n";
    return 2;
  }
}
