// What one run of an entry came to: graphs that a delegate took, and the runtime's own kernels by name with their number.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "results.h"

namespace runner {

struct Events {
  int64_t delegate_calls = 0;
  std::map<std::string, int64_t> kernels;
};

// Runs an entry once on zeros in a model of its own, watched. Each runner links one definition; Failure where its runtime tells
// no events.
Events watch_entry(const std::string& path, const std::string& entry);

// Appends the line of a watched entry.
void write_events(const std::string& entry, const Events& events, ResultFile& results);

}  // namespace runner
