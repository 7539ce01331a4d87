// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <vector>

#include "cascade.h"

namespace runner {

// How long every entry took when it last ran: a stage is begun only where its answer will be there in time. What never
// ran is tried; a stage that was passed over is expected a little sooner the next time, so that one slow run does not shut
// it out.
class Pace : public Watch {
 public:
  using Clock = std::chrono::steady_clock;

  // A run of `plan` begins, to end by `deadline`.
  void begin(const Plan& plan, Clock::time_point deadline) {
    plan_ = &plan;
    deadline_ = deadline;
    mark_ = Clock::now();
  }

  void ran(const std::string& entry) override {
    const Clock::time_point now = Clock::now();
    seconds_[entry] = seconds(now - mark_);
    mark_ = now;
  }

  bool go_on(size_t stage) override {
    std::vector<std::string> following = {plan_->stages[stage + 1].entry};
    if (stage + 1 < plan_->finish.size()) following.push_back(plan_->finish[stage + 1]);
    double wanted = 0;
    for (const std::string& entry : following) wanted += seconds_[entry];
    if (wanted <= seconds(deadline_ - Clock::now())) return true;
    for (const std::string& entry : following) seconds_[entry] *= kEase;
    return false;
  }

 private:
  static constexpr double kEase = 0.98;
  static double seconds(Clock::duration time) { return std::chrono::duration<double>(time).count(); }

  std::map<std::string, double> seconds_;
  const Plan* plan_ = nullptr;
  Clock::time_point deadline_, mark_;
};

}  // namespace runner
