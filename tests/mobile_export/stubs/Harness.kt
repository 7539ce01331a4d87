// What the Kotlin reference computes, for test_glue_compilers.py: HarnessKt BUNDLE IMAGE FOLDER.
package messdeploy

import java.io.File

/** Two stages; the first one's confidence is what `next` says. */
private class Scripted(var next: Float = 0f) : Model<Float> {
    override fun image(input: ImageInput, image: RgbImage): Float = input.bytes(image)[0].toFloat()
    override fun run(entry: String, input: Float): List<Float> = if (entry == "stage_0") listOf(input, 1f, next) else listOf(2f)
    override fun confidence(entry: String, value: Float): Float = value
    override fun labels(value: Float): ByteArray = ByteArray(64 * 64) { value.toInt().toByte() }
    override fun close() {}
}

fun main(words: Array<String>) {
    val (bundle, image, folder) = words.map(::File)
    val sample = RgbImage.fromPpm(image)
    File(folder, "frame.rgb").writeBytes(RgbImage.fromNv21(File(folder, "frame.raw").readBytes(), 64, 48).rgb)
    File(folder, "small.rgb").writeBytes(sample.resized(40, 27).rgb)
    val filter = LabelFilter(2)
    println("labels " + listOf(3, 5, 3, 5, 5, 5, 3, 3).joinToString(" ") { filter.show(byteArrayOf(it.toByte()))[0].toString() })
    val scripted = Scripted()
    val segmenter = Segmenter(bundle) { _, _ -> scripted }
    val exits = listOf(.12f, .09f, .11f, .09f, .11f, .16f, .11f, .12f, .09f).map {
        scripted.next = it
        segmenter.run(sample).exit
    }
    val last = segmenter.run(sample)
    println("exits " + exits.joinToString(" "))
    scripted.next = .09f
    println("deadline ${segmenter.run(sample, 0).exit} ${segmenter.run(sample).exit}")
    println("labels ${last.width}x${last.height}")
    scripted.next = .12f
    println(runCatching { segmenter.selfCheck() }.fold({ "passed" }, { if (it is BundleException) "refused" else it.toString() }))
}
