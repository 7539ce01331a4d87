// ExecuTorch behind the runner's interface: the Module API with the optimised, quantised and XNNPACK kernels that are linked in.
#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>

#include <sys/stat.h>

#include <algorithm>
#include <map>

#include "model.h"

// The wheel ships this symbol without its header.
namespace executorch::extension::threadpool {
class ThreadPool {
 public:
  bool _unsafe_reset_threadpool(uint32_t threads);
};
ThreadPool* get_threadpool();
}  // namespace executorch::extension::threadpool

namespace runner {
namespace {

namespace et = executorch::runtime;
using executorch::aten::ScalarType;
using executorch::extension::Module;

const std::vector<std::pair<ScalarType, const char*>>& scalar_types() {
  static const std::vector<std::pair<ScalarType, const char*>> types = {
      {ScalarType::Float, "float32"}, {ScalarType::Char, "int8"},  {ScalarType::Byte, "uint8"},   {ScalarType::Int, "int32"},
      {ScalarType::Long, "int64"},    {ScalarType::Bool, "bool"},  {ScalarType::Half, "float16"}, {ScalarType::Double, "float64"},
      {ScalarType::Short, "int16"}};
  return types;
}

void expect(et::Error error, const std::string& what) {
  if (error != et::Error::Ok) throw Failure(what + ": ExecuTorch says " + et::to_string(error));
}

std::string dtype_name(ScalarType type) {
  for (const auto& [known, name] : scalar_types()) {
    if (known == type) return name;
  }
  throw Failure("ExecuTorch scalar type " + std::to_string(static_cast<int>(type)) + " is not supported");
}

ScalarType scalar_type(const std::string& dtype) {
  for (const auto& [known, name] : scalar_types()) {
    if (dtype == name) return known;
  }
  throw Failure("dtype " + dtype + " is not supported by ExecuTorch");
}

TensorType tensor_type(const et::Result<et::TensorInfo>& info, const std::string& what) {
  if (!info.ok()) throw Failure(what + " is not a tensor");
  TensorType type;
  type.dtype = dtype_name(info->scalar_type());
  type.shape.assign(info->sizes().begin(), info->sizes().end());
  const auto order = info->dim_order();
  for (size_t axis = 0; axis < order.size(); ++axis) {
    if (order[axis] != axis) throw Failure(what + " is not contiguous (channels last?): export it with the default memory format");
  }
  return type;
}

class ExecutorchModel final : public Model {
 public:
  explicit ExecutorchModel(const std::string& path) : module_(path, Module::LoadMode::Mmap) {
    // Full verification: a damaged file must end as an error, not as a crash.
    expect(module_.load(executorch::runtime::Program::Verification::InternalConsistency), "model " + path + " can't be loaded");
  }

  const Signature& open(const std::string& entry) override {
    const auto found = opened_.find(entry);
    if (found != opened_.end()) return found->second.signature;
    expect_known(entry);
    expect(module_.load_method(entry), "entry " + entry + " can't be loaded");
    Opened opened;
    opened.signature = describe(entry);
    opened.inputs.resize(opened.signature.inputs.size());
    opened.tensors.resize(opened.signature.inputs.size());
    return opened_.emplace(entry, std::move(opened)).first->second.signature;
  }

  void close(const std::string& entry) override {
    opened_.erase(entry);
    module_.unload_method(entry);
  }

  void bind(const std::string& entry, size_t input, const Tensor& tensor) override {
    std::vector<executorch::aten::SizesType> sizes(tensor.type.shape.begin(), tensor.type.shape.end());
    Opened& opened = opened_.at(entry);
    opened.tensors[input] = executorch::extension::make_tensor_ptr(std::move(sizes), tensor.data.get(), scalar_type(tensor.type.dtype));
    opened.inputs[input] = opened.tensors[input];
    opened.producers.erase(input);
  }

  void bind(const std::string& entry, size_t input, const std::string& producer, size_t output) override {
    opened_.at(entry).producers[input] = {producer, output};
  }

  void run(const std::string& entry) override {
    Opened& opened = opened_.at(entry);
    for (const auto& [input, source] : opened.producers) opened.inputs[input] = opened_.at(source.entry).outputs.at(source.output);
    auto outputs = module_.execute(entry, opened.inputs);
    if (!outputs.ok()) expect(outputs.error(), "entry " + entry + " can't be run");
    opened.outputs = std::move(*outputs);
  }

  const void* output(const std::string& entry, size_t index) override { return opened_.at(entry).outputs.at(index).toTensor().const_data_ptr(); }

 private:
  struct Source {
    std::string entry;
    size_t output;
  };
  struct Opened {
    Signature signature;
    std::vector<executorch::extension::TensorPtr> tensors;
    std::vector<et::EValue> inputs;
    std::vector<et::EValue> outputs;
    std::map<size_t, Source> producers;
  };

  void expect_known(const std::string& entry) {
    const auto names = module_.method_names();
    if (!names.ok()) expect(names.error(), "the model's methods can't be listed");
    if (names->count(entry)) return;
    std::vector<std::string> sorted(names->begin(), names->end());
    std::sort(sorted.begin(), sorted.end());
    std::string text;
    for (const auto& name : sorted) text += (text.empty() ? "" : ", ") + name;
    throw Failure("the model has no entry " + entry + "; it has: " + text);
  }

  Signature describe(const std::string& entry) {
    const auto meta = module_.method_meta(entry);
    if (!meta.ok()) expect(meta.error(), "entry " + entry + " can't be described");
    Signature signature;
    for (size_t i = 0; i < meta->num_inputs(); ++i) {
      signature.inputs.push_back(tensor_type(meta->input_tensor_meta(i), "input " + std::to_string(i) + " of " + entry));
    }
    for (size_t i = 0; i < meta->num_outputs(); ++i) {
      signature.outputs.push_back(tensor_type(meta->output_tensor_meta(i), "output " + std::to_string(i) + " of " + entry));
    }
    return signature;
  }

  Module module_;
  std::map<std::string, Opened> opened_;
};

}  // namespace

std::unique_ptr<Model> load_model(const std::string& path, int threads) {
  struct stat status;
  if (stat(path.c_str(), &status) != 0) throw Failure("model " + path + " can't be read");
  executorch::extension::threadpool::get_threadpool()->_unsafe_reset_threadpool(static_cast<uint32_t>(threads));
  return std::make_unique<ExecutorchModel>(path);
}

}  // namespace runner
