#include "events.h"

namespace runner {

void write_events(const std::string& entry, const Events& events, ResultFile& results) {
  std::string kernels;
  for (const auto& [name, count] : events.kernels) kernels += (kernels.empty() ? "" : ",") + json_text(name) + ":" + std::to_string(count);
  results.line("{\"entry\":" + json_text(entry) + ",\"delegate_calls\":" + std::to_string(events.delegate_calls) + ",\"kernels\":{" + kernels +
               "}}");
}

}  // namespace runner
