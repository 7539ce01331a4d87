// One interface over both runtimes: a file with several entry points, each with fixed inputs and outputs.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tensor.h"

namespace runner {

struct Signature {
  std::vector<TensorType> inputs;
  std::vector<TensorType> outputs;
};

class Model {
 public:
  virtual ~Model() = default;

  // Makes an entry ready to run and says what it takes; Failure names the entries there are when it is missing.
  virtual const Signature& open(const std::string& entry) = 0;

  // Frees what an entry holds.
  virtual void close(const std::string& entry) = 0;

  // The entry reads its input from `tensor` (which must outlive the runs), or from an output of another open entry: no copy
  // where the runtime allows it. The caller has checked the types.
  virtual void bind(const std::string& entry, size_t input, const Tensor& tensor) = 0;
  virtual void bind(const std::string& entry, size_t input, const std::string& producer, size_t output) = 0;

  virtual void run(const std::string& entry) = 0;

  // Valid until the entry runs again.
  virtual const void* output(const std::string& entry, size_t index) = 0;
};

// Each runner links one definition. Failure when the file is missing, damaged or of another format.
std::unique_ptr<Model> load_model(const std::string& path, int threads);

}  // namespace runner
