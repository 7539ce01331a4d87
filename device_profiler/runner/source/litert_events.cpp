// LiteRT has no delegate events to tell of.
#include "events.h"

namespace runner {

Events watch_entry(const std::string&, const std::string&) { throw Failure("LiteRT tells no delegate events: watch an ExecuTorch model"); }

}  // namespace runner
