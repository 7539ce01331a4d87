// LiteRT behind the runner's interface: a compiled model on the CPU (XNNPACK inside), one signature an entry.
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <utility>

#include "litert_api.h"
#include "model.h"

namespace runner {
namespace {

void expect(LiteRtStatus status, const std::string& what) {
  if (status != kLiteRtStatusOk) throw Failure(what + ": LiteRT status " + std::to_string(status));
}

template <typename Handle, void (*Destroy)(Handle)>
class Owned {
 public:
  Owned() = default;
  Owned(Owned&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Owned& operator=(Owned&&) = delete;
  ~Owned() {
    if (handle_ != nullptr) Destroy(handle_);
  }
  Handle get() const { return handle_; }
  Handle* address() { return &handle_; }

 private:
  Handle handle_ = nullptr;
};

using Environment = Owned<LiteRtEnvironment, LiteRtDestroyEnvironment>;
using LoadedModel = Owned<LiteRtModel, LiteRtDestroyModel>;
using Options = Owned<LiteRtOptions, LiteRtDestroyOptions>;
using Compiled = Owned<LiteRtCompiledModel, LiteRtDestroyCompiledModel>;
using Buffer = Owned<LiteRtTensorBuffer, LiteRtDestroyTensorBuffer>;

std::string dtype_name(int element_type) {
  static const std::map<int, const char*> names = {{1, "float32"}, {2, "int32"}, {3, "uint8"},    {4, "int64"},   {6, "bool"},    {7, "int16"},
                                                   {9, "int8"},    {10, "float16"}, {11, "float64"}, {13, "uint64"}, {16, "uint32"}, {17, "uint16"}};
  const auto found = names.find(element_type);
  if (found == names.end()) throw Failure("LiteRT element type " + std::to_string(element_type) + " is not supported");
  return found->second;
}

struct EdgeTensor {
  LiteRtRankedTensorType ranked = {};
  TensorType type;
};

EdgeTensor edge_tensor(LiteRtTensor tensor) {
  EdgeTensor edge;
  int kind = -1;
  expect(LiteRtGetTensorTypeId(tensor, &kind), "a tensor's type can't be read");
  if (kind != kLiteRtTensorTypeRanked) throw Failure("a tensor of the model has no fixed rank; entry points need fixed shapes");
  expect(LiteRtGetRankedTensorType(tensor, &edge.ranked), "a tensor's type can't be read");
  edge.type.dtype = dtype_name(edge.ranked.element_type);
  edge.type.shape.assign(edge.ranked.layout.dimensions, edge.ranked.layout.dimensions + edge.ranked.layout.rank);
  int quantization = 0;
  expect(LiteRtGetQuantizationTypeId(tensor, &quantization), "a tensor's quantisation can't be read");
  if (quantization == kLiteRtQuantizationNone) return edge;
  if (quantization != kLiteRtQuantizationPerTensor) throw Failure("an input or output is quantised per channel; only per tensor is supported");
  LiteRtQuantizationPerTensor affine = {};
  expect(LiteRtGetPerTensorQuantization(tensor, &affine), "a tensor's quantisation can't be read");
  edge.type.quantized = true;
  edge.type.scale = affine.scale;
  edge.type.zero_point = affine.zero_point;
  return edge;
}

// Names end in a number ("output_10"): that number decides, then the text.
bool natural_less(const std::string& left, const std::string& right) {
  const auto stem = [](const std::string& name) { return name.find_last_not_of("0123456789") + 1; };
  const auto number = [&](const std::string& name) { return stem(name) == name.size() ? 0 : std::stoull(name.substr(stem(name))); };
  const std::string left_stem = left.substr(0, stem(left)), right_stem = right.substr(0, stem(right));
  if (left_stem != right_stem) return left_stem < right_stem;
  return number(left) < number(right);
}

// One side (inputs or outputs) of a signature. Buffers are passed in the graph's order; the interface goes by the numbers in the
// names, so that converters may order their graphs as they like.
struct Side {
  std::vector<EdgeTensor> tensors;  // in the graph's order
  std::vector<size_t> order;        // interface index -> graph index

  std::vector<TensorType> types() const {
    std::vector<TensorType> types;
    for (size_t index : order) types.push_back(tensors[index].type);
    return types;
  }
};

using Count = LiteRtStatus (*)(LiteRtSignature, LiteRtParamIndex*);
using NameAt = LiteRtStatus (*)(LiteRtSignature, LiteRtParamIndex, const char**);
using TensorAt = LiteRtStatus (*)(LiteRtSignature, LiteRtParamIndex, LiteRtTensor*);

Side read_side(LiteRtSignature signature, Count count, NameAt name_at, TensorAt tensor_at) {
  LiteRtParamIndex total = 0;
  expect(count(signature, &total), "a signature's tensors can't be counted");
  Side side;
  std::vector<std::string> names;
  for (size_t i = 0; i < total; ++i) {
    const char* name = nullptr;
    LiteRtTensor tensor = nullptr;
    expect(name_at(signature, i, &name), "a signature's tensor name can't be read");
    expect(tensor_at(signature, i, &tensor), "a signature's tensor can't be read");
    names.emplace_back(name);
    side.tensors.push_back(edge_tensor(tensor));
    side.order.push_back(i);
  }
  std::sort(side.order.begin(), side.order.end(), [&](size_t left, size_t right) { return natural_less(names[left], names[right]); });
  return side;
}

class LitertModel final : public Model {
 public:
  LitertModel(const std::string& path, int threads) {
    expect(LiteRtCreateEnvironment(0, nullptr, environment_.address()), "LiteRT can't start");
    expect(LiteRtCreateModelFromFile(environment_.get(), path.c_str(), model_.address()), "model " + path + " can't be loaded");
    expect(LiteRtCreateOptions(options_.address()), "LiteRT's options can't be made");
    expect(LiteRtSetOptionsHardwareAccelerators(options_.get(), kLiteRtHwAcceleratorCpu), "the CPU can't be chosen");
    set_threads(threads);
    expect(LiteRtCreateCompiledModel(environment_.get(), model_.get(), options_.get(), compiled_.address()),
           "model " + path + " can't be prepared for the CPU");
    read_signatures();
  }

  const Signature& open(const std::string& entry) override {
    const auto found = opened_.find(entry);
    if (found != opened_.end()) return found->second.signature;
    Opened opened;
    opened.index = index_of(entry);
    LiteRtSignature signature = nullptr;
    expect(LiteRtGetModelSignature(model_.get(), opened.index, &signature), "signature " + entry + " can't be read");
    opened.inputs = read_side(signature, LiteRtGetNumSignatureInputs, LiteRtGetSignatureInputName, LiteRtGetSignatureInputTensorByIndex);
    opened.outputs = read_side(signature, LiteRtGetNumSignatureOutputs, LiteRtGetSignatureOutputName, LiteRtGetSignatureOutputTensorByIndex);
    opened.signature = {opened.inputs.types(), opened.outputs.types()};
    opened.input_handles.resize(opened.inputs.tensors.size());
    for (const EdgeTensor& tensor : opened.outputs.tensors) {
      opened.memory.push_back(allocate(tensor.type.bytes()));
      opened.output_handles.push_back(make_buffer(opened, tensor.ranked, opened.memory.back().get(), tensor.type.bytes()));
    }
    return opened_.emplace(entry, std::move(opened)).first->second.signature;
  }

  void close(const std::string& entry) override { opened_.erase(entry); }

  void bind(const std::string& entry, size_t input, const Tensor& tensor) override {
    Opened& opened = opened_.at(entry);
    const size_t slot = opened.inputs.order.at(input);
    opened.input_handles[slot] = make_buffer(opened, opened.inputs.tensors[slot].ranked, tensor.data.get(), tensor.type.bytes());
  }

  void bind(const std::string& entry, size_t input, const std::string& producer, size_t output) override {
    Opened& opened = opened_.at(entry);
    const Opened& source = opened_.at(producer);
    opened.input_handles[opened.inputs.order.at(input)] = source.output_handles[source.outputs.order.at(output)];
  }

  void run(const std::string& entry) override {
    Opened& opened = opened_.at(entry);
    expect(LiteRtRunCompiledModel(compiled_.get(), opened.index, opened.input_handles.size(), opened.input_handles.data(),
                                  opened.output_handles.size(), opened.output_handles.data()),
           "entry " + entry + " can't be run");
  }

  const void* output(const std::string& entry, size_t index) override {
    const Opened& opened = opened_.at(entry);
    return opened.memory[opened.outputs.order.at(index)].get();
  }

 private:
  struct Opened {
    LiteRtParamIndex index = 0;
    Side inputs;
    Side outputs;
    Signature signature;
    std::vector<Memory> memory;  // of the outputs, in the subgraph's order
    std::vector<Buffer> buffers;  // owners of the handles below
    std::vector<LiteRtTensorBuffer> input_handles;
    std::vector<LiteRtTensorBuffer> output_handles;
  };

  static LiteRtTensorBuffer make_buffer(Opened& opened, const LiteRtRankedTensorType& type, void* memory, size_t bytes) {
    Buffer buffer;
    expect(LiteRtCreateTensorBufferFromHostMemory(&type, memory, bytes, nullptr, buffer.address()), "a tensor buffer can't be made");
    opened.buffers.push_back(std::move(buffer));
    return opened.buffers.back().get();
  }

  // The CPU's options travel as TOML text under the identifier "xnnpack".
  void set_threads(int threads) {
    const std::string text = "num_threads = " + std::to_string(threads) + "\n";
    LiteRtOpaqueOptions opaque = nullptr;
    expect(LiteRtCreateOpaqueOptions("xnnpack", strdup(text.c_str()), std::free, &opaque), "the CPU's options can't be made");
    expect(LiteRtAddOpaqueOptions(options_.get(), opaque), "the number of threads can't be set");
  }

  void read_signatures() {
    LiteRtParamIndex count = 0;
    expect(LiteRtGetNumModelSignatures(model_.get(), &count), "the model's signatures can't be counted");
    for (size_t i = 0; i < count; ++i) {
      LiteRtSignature signature = nullptr;
      const char* key = nullptr;
      expect(LiteRtGetModelSignature(model_.get(), i, &signature), "a signature can't be read");
      expect(LiteRtGetSignatureKey(signature, &key), "a signature's name can't be read");
      entries_.emplace_back(key);
    }
  }

  LiteRtParamIndex index_of(const std::string& entry) const {
    const auto found = std::find(entries_.begin(), entries_.end(), entry);
    if (found != entries_.end()) return static_cast<LiteRtParamIndex>(found - entries_.begin());
    std::vector<std::string> sorted = entries_;
    std::sort(sorted.begin(), sorted.end());
    std::string text;
    for (const auto& name : sorted) text += (text.empty() ? "" : ", ") + name;
    throw Failure("the model has no entry " + entry + "; it has: " + text);
  }

  Environment environment_;
  LoadedModel model_;
  Options options_;
  Compiled compiled_;
  std::vector<std::string> entries_;
  std::map<std::string, Opened> opened_;
};

}  // namespace

std::unique_ptr<Model> load_model(const std::string& path, int threads) {
  struct stat status;
  if (stat(path.c_str(), &status) != 0) throw Failure("model " + path + " can't be read");
  return std::make_unique<LitertModel>(path, threads);
}

}  // namespace runner
