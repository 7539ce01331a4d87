// SPDX-License-Identifier: Apache-2.0
// From a camera's frame to an RGB image of the network's size.
package messdeploy

import java.io.File
import kotlin.math.abs
import kotlin.math.floor
import kotlin.math.max
import kotlin.math.min

/** RGB bytes, row by row. */
class RgbImage(val width: Int, val height: Int, val rgb: ByteArray) {
    init {
        require(width > 0 && height > 0 && rgb.size == width * height * 3) {
            "an image of ${width}x$height has ${width * height * 3} bytes of RGB, not ${rgb.size}"
        }
    }

    /** The triangle filter, widened when shrinking (Android's own scaling is not); the shape is not kept. */
    fun resized(toWidth: Int, toHeight: Int): RgbImage {
        if (toWidth == width && toHeight == height) return this
        val narrow = ByteArray(toWidth * height * 3)
        filter(triangle(width, toWidth), rgb, 3, width * 3, narrow, 3, toWidth * 3, height)
        val small = ByteArray(toWidth * toHeight * 3)
        filter(triangle(height, toHeight), narrow, toWidth * 3, 3, small, toWidth * 3, 3, toWidth)
        return RgbImage(toWidth, toHeight, small)
    }

    companion object {
        /**
         * NV21: width * height bytes of Y, then Cr and Cb in turn for each 2x2 pixels. Android's camera gives BT.601 in
         * full range. `ImageProxy` planes with other strides have to be packed first.
         */
        fun fromNv21(frame: ByteArray, width: Int, height: Int, videoRange: Boolean = false): RgbImage {
            require(width % 2 == 0 && height % 2 == 0 && frame.size >= width * height * 3 / 2) {
                "an NV21 frame of ${width}x$height has even sides and ${width * height * 3 / 2} bytes, not ${frame.size}"
            }
            val offset = if (videoRange) 16f else 0f
            val lumaScale = if (videoRange) 255f / 219f else 1f
            val chromaScale = if (videoRange) 255f / 224f else 1f
            val rgb = ByteArray(width * height * 3)
            for (row in 0 until height) for (x in 0 until width) {
                val pair = width * height + row / 2 * width + x / 2 * 2
                val luma = (byte(frame, row * width + x) - offset) * lumaScale
                val red = luma + 2f * (1f - KR) * (byte(frame, pair) - 128f) * chromaScale
                val blue = luma + 2f * (1f - KB) * (byte(frame, pair + 1) - 128f) * chromaScale
                val at = (row * width + x) * 3
                rgb[at] = rounded(red)
                rgb[at + 1] = rounded((luma - KR * red - KB * blue) / (1f - KR - KB))
                rgb[at + 2] = rounded(blue)
            }
            return RgbImage(width, height, rgb)
        }

        /** A binary PPM of 8 bits, as the self-check's sample is. */
        fun fromPpm(file: File): RgbImage {
            val (width, height, pixels) = readPnm(file, "P6", 3)
            return RgbImage(width, height, pixels)
        }

        private const val KR = 0.299f // ITU-R BT.601
        private const val KB = 0.114f
    }
}

/** Width, height and pixels of a binary PNM file. */
internal fun readPnm(file: File, magic: String, channels: Int): Triple<Int, Int, ByteArray> {
    val content = file.readBytes()
    val header = Regex("^$magic\\s(\\d+)\\s(\\d+)\\s255\\s").find(String(content, 0, min(64, content.size), Charsets.ISO_8859_1))
        ?: throw BundleException("$file is no binary $magic image of 8 bits")
    val (width, height) = header.destructured.toList().map(String::toInt)
    val start = header.range.last + 1
    if (content.size - start != width * height * channels) throw BundleException("$file is cut short")
    return Triple(width, height, content.copyOfRange(start, content.size))
}

private fun byte(bytes: ByteArray, index: Int): Float = (bytes[index].toInt() and 0xFF).toFloat()

private fun rounded(value: Float): Byte = floor(value + 0.5f).coerceIn(0f, 255f).toInt().toByte()

/** The source pixels that one target pixel is made of, weights in 1 / 2^22: Pillow's arithmetic, so its results. */
private class Taps(val first: Int, val weights: IntArray)

private const val PRECISION = 22

private fun triangle(source: Int, target: Int): List<Taps> {
    val scale = source.toDouble() / target
    val reach = max(scale, 1.0)
    val narrowing = 1 / reach
    return List(target) { i ->
        val centre = (i + 0.5) * scale
        val first = max(0, floor(centre - reach + 0.5).toInt())
        val end = min(source, floor(centre + reach + 0.5).toInt())
        val weights = (first until end).map { max(0.0, 1 - abs((it - centre + 0.5) * narrowing)) }
        Taps(first, IntArray(weights.size) { (0.5 + weights[it] / weights.sum() * (1 shl PRECISION)).toInt() })
    }
}

/** `lines` rows or columns; `step` and `stride` are the distances between pixels and between lines, in bytes. */
private fun filter(
    taps: List<Taps>, from: ByteArray, fromStep: Int, fromStride: Int, to: ByteArray, toStep: Int, toStride: Int, lines: Int,
) {
    for (line in 0 until lines) for ((i, tap) in taps.withIndex()) for (c in 0 until 3) {
        var sum = 1 shl (PRECISION - 1)
        for (k in tap.weights.indices) sum += tap.weights[k] * (from[line * fromStride + (tap.first + k) * fromStep + c].toInt() and 0xFF)
        to[line * toStride + i * toStep + c] = (sum shr PRECISION).coerceIn(0, 255).toByte()
    }
}
