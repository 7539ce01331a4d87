#include "tensor.h"

#include <sstream>
#include <utility>

namespace runner {

size_t element_size(const std::string& dtype) {
  static const std::vector<std::pair<const char*, size_t>> sizes = {
      {"float32", 4}, {"int8", 1},  {"uint8", 1},   {"int32", 4},   {"int64", 8}, {"bool", 1},
      {"int16", 2},   {"uint16", 2}, {"float16", 2}, {"float64", 8}, {"uint32", 4}, {"uint64", 8}};
  for (const auto& [name, size] : sizes) {
    if (dtype == name) return size;
  }
  throw Failure("dtype " + dtype + " is not supported");
}

size_t TensorType::elements() const {
  size_t count = 1;
  for (int64_t extent : shape) {
    if (extent < 0) throw Failure("a tensor of the model has an open dimension; entry points need fixed shapes");
    count *= static_cast<size_t>(extent);
  }
  return count;
}

size_t TensorType::bytes() const { return elements() * element_size(dtype); }

std::string TensorType::text() const {
  std::ostringstream out;
  out << dtype << '[';
  for (size_t axis = 0; axis < shape.size(); ++axis) out << (axis ? "," : "") << shape[axis];
  out << ']';
  if (quantized) {
    out.precision(9);
    out << " scale " << scale << " zero point " << zero_point;
  }
  return out.str();
}

}  // namespace runner
