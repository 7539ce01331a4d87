// SPDX-License-Identifier: Apache-2.0
// A .pte file on ExecuTorch's Swift package: link `executorch`, the backends the file was lowered to, and `kernels_optimized`.
import ExecuTorch
import Foundation

public struct ExecuTorchModel: Model {
  private let module: Module

  public init(file: URL, manifest: Manifest) throws {
    module = Module(filePath: file.path)
    for entry in manifest.artifact.entries { try module.load(entry.name) }
  }

  public func image(_ image: RgbImage, for input: Manifest.Input) throws -> Value {
    let shape = input.planar ? [1, 3, input.height, input.width] : [1, input.height, input.width, 3]
    switch input.dtype {
    case "float32": return Value(Tensor<Float>(image.real(for: input), shape: shape))
    case "uint8": return Value(Tensor<UInt8>(image.real(for: input).map { UInt8($0) }, shape: shape))
    default: throw BundleError("an image of dtype \(input.dtype) is not supported")
    }
  }

  public func run(_ entry: String, _ input: Value) throws -> [Value] { try module.execute(entry, [input]) }

  public func confidence(_ value: Value) throws -> Float {
    guard let tensor: Tensor<Float> = value.tensor() else { throw BundleError("the confidence is no float32") }
    return tensor.scalars()[0]
  }

  public func labels(_ value: Value) throws -> [UInt8] {
    guard let tensor: Tensor<Int32> = value.tensor() else { throw BundleError("the labels are no int32") }
    return tensor.scalars().map { UInt8($0) }
  }
}
