// Signatures of Apple's Core ML (iOS 18), for type checking only.
import Foundation

public enum MLComputeUnits { case all, cpuOnly, cpuAndGPU, cpuAndNeuralEngine }
public enum MLMultiArrayDataType { case float32, float16, int32 }

public final class MLModelConfiguration {
  public init() {}
  public var computeUnits = MLComputeUnits.all
  public var functionName: String?
}

public final class MLMultiArray {
  public init(shape: [NSNumber], dataType: MLMultiArrayDataType) throws {}
  public var count: Int { 0 }
  public subscript(index: Int) -> NSNumber { 0 }
  public func withUnsafeMutableBufferPointer<S, R>(ofType type: S.Type, _ body: (UnsafeMutableBufferPointer<S>, [Int]) throws -> R) rethrows -> R {
    fatalError()
  }
}

public final class MLFeatureValue { public var multiArrayValue: MLMultiArray? }

public protocol MLFeatureProvider { func featureValue(for name: String) -> MLFeatureValue? }

public final class MLDictionaryFeatureProvider: MLFeatureProvider {
  public init(dictionary: [String: Any]) throws {}
  public func featureValue(for name: String) -> MLFeatureValue? { nil }
}

public final class MLModel {
  public static func compileModel(at url: URL) throws -> URL { url }
  public init(contentsOf url: URL, configuration: MLModelConfiguration) throws {}
  public func prediction(from input: MLFeatureProvider) throws -> MLFeatureProvider { input }
}
