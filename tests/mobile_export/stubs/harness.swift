// What the Swift reference computes, for test_glue_compilers.py: BUNDLE IMAGE FOLDER.

/// Two stages; the first one's confidence is what `next` says.
final class Scripted: Model {
  var next: Float = 0
  func image(_ image: RgbImage, for input: Manifest.Input) throws -> [Float] { [image.real(for: input)[0]] }
  func run(_ entry: String, _ input: [Float]) throws -> [[Float]] { entry == "stage_0" ? [input, [1], [next]] : [[2]] }
  func confidence(_ value: [Float]) throws -> Float { value[0] }
  func labels(_ value: [Float]) throws -> [UInt8] { [UInt8](repeating: UInt8(value[0]), count: 64 * 64) }
}

let words = Array(CommandLine.arguments.suffix(3))
let folder = URL(fileURLWithPath: words[2])
let (sampleWidth, sampleHeight, samplePixels) = try readPnm(URL(fileURLWithPath: words[1]), magic: "P6", channels: 3)
let sample = RgbImage(width: sampleWidth, height: sampleHeight, rgb: samplePixels)
let raw = [UInt8](try Data(contentsOf: folder.appendingPathComponent("frame.raw")))
let converted = raw.withUnsafeBufferPointer { bytes in
  RgbImage(y: bytes.baseAddress!, yStride: 64, cbcr: bytes.baseAddress! + 48 * 64, cbcrStride: 64, width: 64, height: 48)
}
try Data(converted.rgb).write(to: folder.appendingPathComponent("frame.rgb"))
try Data(sample.resized(width: 40, height: 27).rgb).write(to: folder.appendingPathComponent("small.rgb"))
var filtered = LabelFilter(frames: 2)
let shown = [3, 5, 3, 5, 5, 5, 3, 3].map { String(filtered.show([$0])[0]) }
print("labels", shown.joined(separator: " "))
let scripted = Scripted()
let segmenter = try Segmenter(folder: URL(fileURLWithPath: words[0])) { _, _ in scripted }
let exits = try [0.12, 0.09, 0.11, 0.09, 0.11, 0.16, 0.11, 0.12, 0.09].map { (confidence: Float) -> String in
  scripted.next = confidence
  return String(try segmenter.run(sample).exit)
}
print("exits", exits.joined(separator: " "))
scripted.next = 0.09
print("deadline", try segmenter.run(sample, deadline: 0).exit, try segmenter.run(sample).exit)
let last = try segmenter.run(sample)
print("labels \(last.width)x\(last.height)")
scripted.next = 0.12
do { print(try segmenter.selfCheck().isEmpty ? "empty" : "passed") } catch is BundleError { print("refused") }
