// SPDX-License-Identifier: Apache-2.0
// A bundle, loaded and ready for a camera's frames.
//
//   let segmenter = try Segmenter(folder: url) { try ExecuTorchModel(file: $0, manifest: $1) }    // or CoreMLModel
//   try segmenter.selfCheck()                              // at the first start; throws if this phone differs
//   let result = try segmenter.run(RgbImage(pixelBuffer))  // frame after frame, on one thread
import Foundation

/// One line that says what is wrong and what to do.
public struct BundleError: Error, CustomStringConvertible {
  public let description: String
  public init(_ description: String) { self.description = description }
}

/// The part of manifest.json that running needs; see manifest.schema.json.
public struct Manifest: Decodable {
  public static let newestSchema = 2

  public struct Quantization: Decodable { public let scale: Float, zero_point: Float }
  public struct Input: Decodable {
    public let size: [Int], layout: String, dtype: String
    public let low: Float?, high: Float?, mean: [Float]?, std: [Float]?, quantization: Quantization?, labels_size: [Int]?
    public var height: Int { size[0] }
    public var width: Int { size[1] }
    public var labelsHeight: Int { (labels_size ?? size)[0] }
    public var labelsWidth: Int { (labels_size ?? size)[1] }
    public var planar: Bool { layout == "NCHW" }
  }
  public struct Stage: Decodable { public let entry: String, exit: String, threshold: Float?, finish: String? }
  public struct Resolution: Decodable { public let input: Input, stages: [Stage] }
  public struct Temporal: Decodable { public let exit_margin: Float?, label_frames: Int? }
  public struct Answer: Decodable { public let labels: String, confidences: [Float] }
  public struct SelfCheck: Decodable {
    public let image: String, exit: Int, answers: [Answer], confidence_tolerance: Float, label_agreement: Double
  }
  public struct Tensor: Decodable { public let name: String, shape: [Int], dtype: String? }
  public struct Port: Decodable { public let spec: Tensor }
  public struct Entry: Decodable { public let name: String, inputs: [Port], outputs: [Port] }
  public struct Artifact: Decodable { public let path: String, runtime: String, entries: [Entry] }

  public let schema: Int, artifact: Artifact, input: Input, stages: [Stage]
  public let resolutions: [Resolution]?, temporal: Temporal?, self_check: SelfCheck?
}

/// A loaded file. What it hands from stage to stage is a `Value` of its own kind.
public protocol Model {
  associatedtype Value
  /// The image as the first stage takes it.
  func image(_ image: RgbImage, for input: Manifest.Input) throws -> Value
  /// Outputs of an entry: (features, logits, confidence), (logits) or (labels).
  func run(_ entry: String, _ input: Value) throws -> [Value]
  func confidence(_ value: Value) throws -> Float
  /// Class indices, row by row.
  func labels(_ value: Value) throws -> [UInt8]
}

/// `exit`: the stage it left at, from 0; `labels`: class indices, row by row.
public struct Result {
  public let exit: Int, confidences: [Float], labels: [UInt8], width: Int, height: Int
}

/// A pixel takes a new label once it was seen in `frames` frames in a row.
public struct LabelFilter {
  private let frames: Int
  private var shown: [UInt8] = [], before: [UInt8] = [], count: [Int] = []

  public init(frames: Int) { self.frames = frames }
  public mutating func reset() { shown = [] }

  public mutating func show(_ labels: [UInt8]) -> [UInt8] {
    if frames <= 1 || shown.count != labels.count {
      shown = labels
      count = [Int](repeating: 0, count: labels.count)
    } else {
      for i in labels.indices {
        count[i] = labels[i] == before[i] ? min(count[i] + 1, frames) : 1
        if count[i] >= frames { shown[i] = labels[i] }
      }
    }
    before = labels
    return shown
  }
}

/// How long every entry took when it last ran: a stage is begun only where its answer will be there in time. What never ran
/// is tried; a stage that was passed over is expected a little sooner the next time, so that one slow run does not shut it out.
public struct Pace {
  private var seconds: [String: Double] = [:]

  /// Run an entry and remember its time.
  public mutating func timed<T>(_ entry: String, _ run: () throws -> T) rethrows -> T {
    let begun = Pace.now()
    let outputs = try run()
    seconds[entry] = Pace.now() - begun
    return outputs
  }

  /// Whether `entries` fit into the time that is left, in seconds.
  public mutating func allows(_ entries: [String], left: Double) -> Bool {
    if entries.map({ seconds[$0] ?? 0 }).reduce(0, +) <= left { return true }
    for entry in entries { seconds[entry]? *= 0.98 }
    return false
  }

  /// Seconds of a clock that nobody sets.
  public static func now() -> Double { Double(DispatchTime.now().uptimeNanoseconds) / 1e9 }
}

/// Not thread-safe: call it from one queue. Hashes are the app store's to check.
public final class Segmenter<M: Model> {
  public let manifest: Manifest
  private let folder: URL, model: M, resolutions: [Manifest.Resolution], exitMargin: Float
  private var filter: LabelFilter
  private var pace = Pace()
  private var previous = 0  // the exit of the frame before; 0 asks for no margin anywhere

  public init(folder: URL, open: (URL, Manifest) throws -> M) throws {
    self.folder = folder
    manifest = try Segmenter.readManifest(folder.appendingPathComponent("manifest.json"))
    model = try open(folder.appendingPathComponent(manifest.artifact.path), manifest)
    resolutions = [Manifest.Resolution(input: manifest.input, stages: manifest.stages)] + (manifest.resolutions ?? [])
    exitMargin = manifest.temporal?.exit_margin ?? 0
    filter = LabelFilter(frames: manifest.temporal?.label_frames ?? 1)
  }

  private struct Header: Decodable { let schema: Int }

  private static func readManifest(_ file: URL) throws -> Manifest {
    guard let content = try? Data(contentsOf: file) else { throw BundleError("no bundle here: \(file.path) is missing") }
    let schema = try JSONDecoder().decode(Header.self, from: content).schema
    guard schema <= Manifest.newestSchema else {
      throw BundleError("\(file.path) has schema \(schema), this code reads up to \(Manifest.newestSchema): use the bundle's own glue")
    }
    return try JSONDecoder().decode(Manifest.self, from: content)
  }

  /// Forget the frames so far: after a cut, or when the camera starts again.
  public func newSequence() {
    previous = 0
    filter.reset()
  }

  /// The next frame. It leaves at the first exit whose confidence reaches its threshold; where the frame before went
  /// deeper than that exit, the manifest's exit margin more is asked. A stage that would not end within `deadline` seconds
  /// of this call, by what it took the last time, is not begun: the answer is that of the exit before it.
  public func run(_ image: RgbImage, deadline: Double = .infinity) throws -> Result {
    let ends = Pace.now() + deadline
    let wanted = log(Double(image.width) / Double(image.height))
    func stretch(_ one: Manifest.Resolution) -> Double { abs(wanted - log(Double(one.input.width) / Double(one.input.height))) }
    let resolution = resolutions.min { stretch($0) < stretch($1) }!
    let limits = thresholds(resolution).enumerated().map { $1 + ($0 < previous ? exitMargin : 0) }
    let result = try run(resolution, image, limits, ends: ends)
    previous = result.exit
    return Result(
      exit: result.exit, confidences: result.confidences, labels: filter.show(result.labels), width: result.width, height: result.height)
  }

  private func thresholds(_ resolution: Manifest.Resolution) -> [Float] { resolution.stages.dropLast().map { $0.threshold ?? .infinity } }

  private func run(_ resolution: Manifest.Resolution, _ image: RgbImage, _ limits: [Float], ends: Double = .infinity) throws -> Result {
    let input = resolution.input
    var handedOn = try model.image(image.resized(width: input.width, height: input.height), for: input)
    var confidences: [Float] = []
    for (n, stage) in resolution.stages.enumerated() {
      let outputs = try pace.timed(stage.entry) { try model.run(stage.entry, handedOn) }
      let next = n + 1 < resolution.stages.count ? resolution.stages[n + 1] : nil
      if next != nil { confidences.append(try model.confidence(outputs[2])) }
      if next == nil || confidences[n] >= limits[n] || !pace.allows([next!.entry] + (next!.finish.map { [$0] } ?? []), left: ends - Pace.now()) {
        let logits = outputs[next == nil ? 0 : 1]
        let labels = try model.labels(stage.finish.map { finish in try pace.timed(finish) { try model.run(finish, logits)[0] } } ?? logits)
        return Result(exit: n, confidences: confidences, labels: labels, width: input.labelsWidth, height: input.labelsHeight)
      }
      handedOn = outputs[0]
    }
    throw BundleError("manifest.json has no stages")
  }

  /// The sample image to every exit, held against the validated answers: what held, a line each; throws if not.
  @discardableResult
  public func selfCheck() throws -> [String] {
    guard let check = manifest.self_check else { throw BundleError("this bundle has no self-check: deploy again") }
    let (width, height, pixels) = try readPnm(folder.appendingPathComponent(check.image), magic: "P6", channels: 3)
    let sample = RgbImage(width: width, height: height, rgb: pixels)
    let limits = thresholds(resolutions[0])
    let exit = try run(resolutions[0], sample, limits).exit
    guard exit == check.exit else { throw BundleError("self-check failed: the sample leaves at exit \(exit), not \(check.exit)") }
    return try check.answers.enumerated().map { n, answer in
      let forced = limits.indices.map { $0 < n ? Float.infinity : -Float.infinity }
      return try compare(resolutions[0].stages[n].exit, run(resolutions[0], sample, forced), answer, check)
    }
  }

  private func compare(_ exit: String, _ result: Result, _ answer: Manifest.Answer, _ check: Manifest.SelfCheck) throws -> String {
    let expected = try readPnm(folder.appendingPathComponent(answer.labels), magic: "P5", channels: 1).pixels
    let equal = Double(zip(result.labels, expected).filter { $0 == $1 }.count) / Double(expected.count)
    let error = zip(result.confidences, answer.confidences).map { abs($0 - $1) }.max() ?? 0
    let told = "\(exit): \(equal) of the labels agree, confidences differ by \(error) at most"
    guard equal >= check.label_agreement, error <= check.confidence_tolerance else { throw BundleError("self-check failed at \(told)") }
    return told
  }
}
