// What a tensor at the edge of an entry point looks like, and memory to hold one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

namespace runner {

// Everything that goes wrong on the user's side: becomes the "error" text of a result line and exit code 1.
class Failure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct TensorType {
  std::string dtype;  // numpy's name: "float32", "int8", ...
  std::vector<int64_t> shape;
  bool quantized = false;
  float scale = 0.0f;
  int64_t zero_point = 0;

  bool operator==(const TensorType& other) const {
    return same_storage(other) && quantized == other.quantized && scale == other.scale && zero_point == other.zero_point;
  }
  bool operator!=(const TensorType& other) const { return !(*this == other); }
  bool same_storage(const TensorType& other) const { return dtype == other.dtype && shape == other.shape; }
  size_t elements() const;
  size_t bytes() const;
  std::string text() const;  // "int8[1,3,32,32] scale 0.5 zero point -3"
};

// Bytes of one element; Failure if the name is unknown.
size_t element_size(const std::string& dtype);

// LiteRT wants host memory at 64 bytes; so does every vector unit.
constexpr size_t kAlignment = 64;

struct Released {
  void operator()(void* memory) const { std::free(memory); }
};
using Memory = std::unique_ptr<void, Released>;

inline Memory allocate(size_t bytes) {
  const size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  void* memory = std::aligned_alloc(kAlignment, rounded == 0 ? kAlignment : rounded);
  if (memory == nullptr) throw std::bad_alloc();
  return Memory(memory);
}

// Input data as the host sent it.
struct Tensor {
  TensorType type;
  Memory data;
};

}  // namespace runner
