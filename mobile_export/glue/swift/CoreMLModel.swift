// SPDX-License-Identifier: Apache-2.0
// A Core ML package with a function an entry (iOS 18), or of one entry. Add it to the app as a file, not to its sources.
import CoreML
import Foundation

@available(iOS 18.0, macOS 15.0, *)
public final class CoreMLModel: Model {
  private let functions: [String: MLModel], entries: [String: Manifest.Entry]

  /// `units`: `.all` for CPU, GPU and Neural Engine; `.cpuOnly` computes in float32 and is the steadiest.
  public init(file: URL, manifest: Manifest, units: MLComputeUnits = .all) throws {
    let compiled = try MLModel.compileModel(at: file)
    var functions: [String: MLModel] = [:]
    for entry in manifest.artifact.entries {
      let configuration = MLModelConfiguration()
      configuration.computeUnits = units
      if manifest.artifact.entries.count > 1 { configuration.functionName = entry.name }
      functions[entry.name] = try MLModel(contentsOf: compiled, configuration: configuration)
    }
    self.functions = functions
    entries = Dictionary(uniqueKeysWithValues: manifest.artifact.entries.map { ($0.name, $0) })
  }

  public func image(_ image: RgbImage, for input: Manifest.Input) throws -> MLMultiArray {
    let shape = input.planar ? [1, 3, input.height, input.width] : [1, input.height, input.width, 3]
    let array = try MLMultiArray(shape: shape.map { NSNumber(value: $0) }, dataType: .float32)
    let values = image.real(for: input)
    array.withUnsafeMutableBufferPointer(ofType: Float.self) { pointer, _ in _ = pointer.update(from: values) }
    return array
  }

  public func run(_ entry: String, _ input: MLMultiArray) throws -> [MLMultiArray] {
    guard let function = functions[entry], let ports = entries[entry] else { throw BundleError("the package has no function \(entry)") }
    let features = try MLDictionaryFeatureProvider(dictionary: [ports.inputs[0].spec.name: input])
    let outputs = try function.prediction(from: features)
    return try ports.outputs.map { port in
      guard let array = outputs.featureValue(for: port.spec.name)?.multiArrayValue else {
        throw BundleError("function \(entry) gives no \(port.spec.name)")
      }
      return array
    }
  }

  public func confidence(_ value: MLMultiArray) throws -> Float { value[0].floatValue }

  public func labels(_ value: MLMultiArray) throws -> [UInt8] { (0..<value.count).map { value[$0].uint8Value } }
}
