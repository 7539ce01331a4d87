#include "calls.h"

#include "visits.h"

namespace runner {
namespace {

std::vector<Tensor> read_inputs(const CallJob& call, const Signature& signature, InputFile& file) {
  if (call.inputs.size() != signature.inputs.size()) {
    throw Failure("entry " + call.entry + " takes " + std::to_string(signature.inputs.size()) + " inputs, the job gives " +
                  std::to_string(call.inputs.size()));
  }
  std::vector<Tensor> tensors;
  for (size_t i = 0; i < call.inputs.size(); ++i) {
    if (!call.inputs[i].type.same_storage(signature.inputs[i])) {
      throw Failure("input " + std::to_string(i) + " of entry " + call.entry + " is " + signature.inputs[i].text() + ", the job gives " +
                    call.inputs[i].type.text());
    }
    tensors.push_back(file.read(call.inputs[i]));
  }
  return tensors;
}

std::string dump_outputs(const std::string& entry, const Signature& signature, Model& model, OutputFile& file) {
  std::string json = "[";
  for (size_t i = 0; i < signature.outputs.size(); ++i) json += (i ? "," : "") + file.append(signature.outputs[i], model.output(entry, i));
  return json + "]";
}

// The inputs, which stay bound.
std::vector<Tensor> run_call(const Job& job, size_t index, Model& model, int64_t model_load_ns, Files& files) {
  const CallJob& call = job.calls[index];
  reset_peak_memory();
  Timing timing;
  const int64_t start = now_ns();
  const Signature signature = model.open(call.entry);
  timing.load_ns = model_load_ns + now_ns() - start;
  std::vector<Tensor> inputs = read_inputs(call, signature, files.inputs);
  for (size_t i = 0; i < inputs.size(); ++i) model.bind(call.entry, i, inputs[i]);
  time_runs(job, timing, [&] { model.run(call.entry); });
  const std::string outputs = dump_outputs(call.entry, signature, model, files.outputs);
  files.results.line("{\"call\":" + std::to_string(index) + ",\"entry\":" + json_text(call.entry) + "," + timing.json() + ",\"outputs\":" + outputs +
               "}");
  return inputs;
}

}  // namespace

void run_calls(const Job& job, Model& model, int64_t model_load_ns, Files& files) {
  std::vector<std::vector<Tensor>> bound;
  for (size_t index = 0; index < job.calls.size(); ++index) {
    bound.push_back(run_call(job, index, model, model_load_ns, files));
    if (job.returns()) continue;
    model.close(job.calls[index].entry);
    bound.pop_back();
  }
  run_visits(job, files.results, [&](int subject) { model.run(job.calls[static_cast<size_t>(subject)].entry); });
}

}  // namespace runner
