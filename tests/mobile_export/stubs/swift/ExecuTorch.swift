// Signatures of ExecuTorch 1.x's Swift package, for type checking only.
public protocol Scalar {}
extension Float: Scalar {}
extension UInt8: Scalar {}
extension Int32: Scalar {}

public protocol ValueConvertible {}

public final class Tensor<T: Scalar> {
  public init(_ scalars: [T], shape: [Int] = []) {}
  public func scalars() -> [T] { [] }
}

public final class Value: ValueConvertible {
  public init<T: Scalar>(_ tensor: Tensor<T>) {}
  public func tensor<T: Scalar>() -> Tensor<T>? { nil }
}

public final class Module {
  public init(filePath: String) {}
  public func load(_ method: String) throws {}
  public func execute(_ method: String, _ inputs: [ValueConvertible]) throws -> [Value] { [] }
}
