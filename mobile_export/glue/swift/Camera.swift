// SPDX-License-Identifier: Apache-2.0
// From a camera's frame to an RGB image of the network's size.
import Foundation

#if canImport(CoreVideo)
import CoreVideo
#endif

/// RGB bytes, row by row.
public struct RgbImage {
  public let width: Int, height: Int, rgb: [UInt8]

  public init(width: Int, height: Int, rgb: [UInt8]) {
    precondition(width > 0 && height > 0 && rgb.count == width * height * 3, "an image has 3 bytes a pixel")
    (self.width, self.height, self.rgb) = (width, height, rgb)
  }

  /// The camera's two planes: Y, and Cb and Cr in turn for each 2x2 pixels, each with its row stride in bytes.
  /// 420v is video range; iPhones give BT.709 (Kr 0.2126, Kb 0.0722) for HD, see the buffer's YCbCrMatrix attachment.
  public init(
    y: UnsafePointer<UInt8>, yStride: Int, cbcr: UnsafePointer<UInt8>, cbcrStride: Int, width: Int, height: Int,
    videoRange: Bool = true, kr: Float = 0.2126, kb: Float = 0.0722
  ) {
    let offset: Float = videoRange ? 16 : 0
    let lumaScale: Float = videoRange ? 255 / 219 : 1, chromaScale: Float = videoRange ? 255 / 224 : 1
    var rgb = [UInt8](repeating: 0, count: width * height * 3)
    for row in 0..<height {
      for x in 0..<width {
        let pair = row / 2 * cbcrStride + x / 2 * 2, at = (row * width + x) * 3
        let luma = (Float(y[row * yStride + x]) - offset) * lumaScale
        let red = luma + 2 * (1 - kr) * (Float(cbcr[pair + 1]) - 128) * chromaScale
        let blue = luma + 2 * (1 - kb) * (Float(cbcr[pair]) - 128) * chromaScale
        rgb[at] = rounded(red)
        rgb[at + 1] = rounded((luma - kr * red - kb * blue) / (1 - kr - kb))
        rgb[at + 2] = rounded(blue)
      }
    }
    self.init(width: width, height: height, rgb: rgb)
  }

  #if canImport(CoreVideo)
  /// A 420v or 420f pixel buffer, as AVFoundation and ARKit give it.
  public init(_ buffer: CVPixelBuffer) throws {
    let format = CVPixelBufferGetPixelFormatType(buffer)
    let video = format == kCVPixelFormatType_420YpCbCr8BiPlanarVideoRange
    guard video || format == kCVPixelFormatType_420YpCbCr8BiPlanarFullRange else {
      throw BundleError("a camera's frame is 420v or 420f, not pixel format \(format)")
    }
    CVPixelBufferLockBaseAddress(buffer, .readOnly)
    defer { CVPixelBufferUnlockBaseAddress(buffer, .readOnly) }
    guard let y = CVPixelBufferGetBaseAddressOfPlane(buffer, 0), let cbcr = CVPixelBufferGetBaseAddressOfPlane(buffer, 1) else {
      throw BundleError("the camera's frame has no memory")
    }
    self.init(
      y: UnsafePointer(y.assumingMemoryBound(to: UInt8.self)), yStride: CVPixelBufferGetBytesPerRowOfPlane(buffer, 0),
      cbcr: UnsafePointer(cbcr.assumingMemoryBound(to: UInt8.self)), cbcrStride: CVPixelBufferGetBytesPerRowOfPlane(buffer, 1),
      width: CVPixelBufferGetWidth(buffer), height: CVPixelBufferGetHeight(buffer), videoRange: video)
  }
  #endif

  /// The triangle filter, widened when shrinking; the shape is not kept.
  public func resized(width toWidth: Int, height toHeight: Int) -> RgbImage {
    if toWidth == width && toHeight == height { return self }
    let narrow = filter(triangle(width, toWidth), rgb, step: 3, stride: width * 3, toStep: 3, toStride: toWidth * 3, lines: height)
    let small = filter(
      triangle(height, toHeight), narrow, step: toWidth * 3, stride: 3, toStep: toWidth * 3, toStride: 3, lines: toWidth)
    return RgbImage(width: toWidth, height: toHeight, rgb: small)
  }

  /// Real values in stored order, see `Manifest.Input`.
  public func real(for input: Manifest.Input) -> [Float] {
    let low = input.low ?? 0, scale = ((input.high ?? 255) - low) / 255
    let mean = input.mean ?? [0, 0, 0], deviation = input.std ?? [1, 1, 1]
    var values = [Float](repeating: 0, count: rgb.count)
    let pixels = width * height
    for i in 0..<pixels {
      for c in 0..<3 {
        values[input.planar ? c * pixels + i : i * 3 + c] = (low + Float(rgb[i * 3 + c]) * scale - mean[c]) / deviation[c]
      }
    }
    return values
  }
}

/// Width, height and pixels of a binary PNM file of 8 bits.
func readPnm(_ file: URL, magic: String, channels: Int) throws -> (width: Int, height: Int, pixels: [UInt8]) {
  let content = [UInt8](try Data(contentsOf: file))
  var words: [String] = [], word = "", at = 0
  while at < content.count && words.count < 4 {
    let character = Character(UnicodeScalar(content[at]))
    if character.isWhitespace { words.append(word); word = "" } else { word.append(character) }
    at += 1
  }
  guard words.count == 4, words[0] == magic, words[3] == "255", let width = Int(words[1]), let height = Int(words[2]),
    content.count - at == width * height * channels
  else { throw BundleError("\(file.path) is no whole binary \(magic) image of 8 bits") }
  return (width, height, Array(content[at...]))
}

private func rounded(_ value: Float) -> UInt8 { UInt8(min(max((value + 0.5).rounded(.down), 0), 255)) }

private let precision = 22

/// The source pixels that each target pixel is made of, weights in 1 / 2^22: Pillow's arithmetic, so its results.
private func triangle(_ source: Int, _ target: Int) -> [(first: Int, weights: [Int])] {
  let scale = Double(source) / Double(target), reach = max(scale, 1), narrowing = 1 / reach
  return (0..<target).map { i in
    let centre = (Double(i) + 0.5) * scale
    let first = max(0, Int((centre - reach + 0.5).rounded(.down))), end = min(source, Int((centre + reach + 0.5).rounded(.down)))
    let weights = (first..<end).map { max(0, 1 - abs((Double($0) - centre + 0.5) * narrowing)) }
    let total = weights.reduce(0, +)
    return (first, weights.map { Int(0.5 + $0 / total * Double(1 << precision)) })
  }
}

/// `lines` rows or columns; steps and strides are the distances between pixels and between lines, in bytes.
private func filter(
  _ taps: [(first: Int, weights: [Int])], _ from: [UInt8], step: Int, stride: Int, toStep: Int, toStride: Int, lines: Int
) -> [UInt8] {
  var to = [UInt8](repeating: 0, count: taps.count * lines * 3)
  for line in 0..<lines {
    for (i, tap) in taps.enumerated() {
      for c in 0..<3 {
        var sum = 1 << (precision - 1)
        for (k, weight) in tap.weights.enumerated() { sum += weight * Int(from[line * stride + (tap.first + k) * step + c]) }
        to[line * toStride + i * toStep + c] = UInt8(min(max(sum >> precision, 0), 255))
      }
    }
  }
  return to
}
