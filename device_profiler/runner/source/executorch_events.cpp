// ExecuTorch's delegate events, by an EventTracer that counts: neither ETDump nor flatcc is needed for that.
#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>
#include <executorch/runtime/core/event_tracer.h>

#include <cstring>

#include "events.h"

namespace runner {
namespace {

namespace et = executorch::runtime;

constexpr char kDelegateCall[] = "DELEGATE_CALL";
constexpr char kKernel[] = "native_call_";

class Counter final : public et::EventTracer {
 public:
  explicit Counter(Events& events) : events_(events) {}

  et::EventTracerEntry start_profiling(const char* name, et::ChainID, et::DebugHandle) override {
    if (std::strcmp(name, kDelegateCall) == 0) ++events_.delegate_calls;
    if (std::strncmp(name, kKernel, sizeof(kKernel) - 1) == 0) ++events_.kernels[name + sizeof(kKernel) - 1];
    return {};
  }

  // What else there is to be told is not counted.
  void create_event_block(const char*) override {}
  void end_profiling(et::EventTracerEntry) override {}
  et::EventTracerEntry start_profiling_delegate(const char*, et::DelegateDebugIntId) override { return {}; }
  void end_profiling_delegate(et::EventTracerEntry, const void*, size_t) override {}
  void log_profiling_delegate(const char*, et::DelegateDebugIntId, et_timestamp_t, et_timestamp_t, const void*, size_t) override {}
  void track_allocation(et::AllocatorID, size_t) override {}
  et::AllocatorID track_allocator(const char*) override { return 0; }
  et::Result<bool> log_evalue(const et::EValue&, et::LoggedEValueType) override { return false; }
  et::Result<bool> log_intermediate_output_delegate(const char*, et::DelegateDebugIntId, const executorch::aten::Tensor&) override { return false; }
  et::Result<bool> log_intermediate_output_delegate(const char*, et::DelegateDebugIntId, const et::ArrayRef<executorch::aten::Tensor>) override {
    return false;
  }
  et::Result<bool> log_intermediate_output_delegate(const char*, et::DelegateDebugIntId, const int&) override { return false; }
  et::Result<bool> log_intermediate_output_delegate(const char*, et::DelegateDebugIntId, const bool&) override { return false; }
  et::Result<bool> log_intermediate_output_delegate(const char*, et::DelegateDebugIntId, const double&) override { return false; }
  void set_delegation_intermediate_output_filter(et::EventTracerFilterBase*) override {}

 private:
  Events& events_;
};

void expect(et::Error error, const std::string& what) {
  if (error != et::Error::Ok) throw Failure(what + ": ExecuTorch says " + et::to_string(error));
}

std::vector<executorch::extension::TensorPtr> zeros(const et::MethodMeta& method, const std::string& entry) {
  std::vector<executorch::extension::TensorPtr> tensors;
  for (size_t i = 0; i < method.num_inputs(); ++i) {
    const auto input = method.input_tensor_meta(i);
    if (!input.ok()) throw Failure("input " + std::to_string(i) + " of " + entry + " is not a tensor");
    tensors.push_back(executorch::extension::zeros({input->sizes().begin(), input->sizes().end()}, input->scalar_type()));
  }
  return tensors;
}

}  // namespace

Events watch_entry(const std::string& path, const std::string& entry) {
  Events events;
  executorch::extension::Module module(path, executorch::extension::Module::LoadMode::Mmap, std::make_unique<Counter>(events));
  expect(module.load(et::Program::Verification::InternalConsistency), "model " + path + " can't be loaded");
  expect(module.load_method(entry), "entry " + entry + " can't be loaded");
  const auto method = module.method_meta(entry);
  if (!method.ok()) expect(method.error(), "entry " + entry + " can't be described");
  const auto tensors = zeros(*method, entry);
  events = {};  // loading is no run
  expect(module.execute(entry, std::vector<et::EValue>(tensors.begin(), tensors.end())).error(), "entry " + entry + " can't be run");
  return events;
}

}  // namespace runner
