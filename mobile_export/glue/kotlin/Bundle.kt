// SPDX-License-Identifier: Apache-2.0
// A bundle, loaded and ready for a camera's frames. Copy these files into the app and change the package to yours.
//
//   val segmenter = Segmenter(folder) { file, _ -> ExecuTorchModel(file, threads = 2) }    // or LiteRTModel
//   segmenter.selfCheck()                                                  // at the first start; throws if it differs
//   val result = segmenter.run(RgbImage.fromNv21(frame, width, height))    // frame after frame, on one thread
package messdeploy

import java.io.File
import kotlin.math.abs
import kotlin.math.ln
import kotlin.math.round
import org.json.JSONArray
import org.json.JSONObject

/** One line that says what is wrong and what to do. */
class BundleException(message: String) : Exception(message)

/** A loaded file. What it hands from stage to stage is a [Value] of its own kind. */
interface Model<Value> : AutoCloseable {
    /** The image as the first stage takes it. */
    fun image(input: ImageInput, image: RgbImage): Value

    /** Outputs of an entry: (features, logits, confidence), (logits) or (labels). */
    fun run(entry: String, input: Value): List<Value>

    /** The real value of the confidence that `run(entry, ...)` gave. */
    fun confidence(entry: String, value: Value): Float

    /** Class indices, row by row. */
    fun labels(value: Value): ByteArray
}

/** What the first stage takes, see manifest.schema.json. */
class ImageInput(json: JSONObject) {
    val height = json.getJSONArray("size").getInt(0)
    val width = json.getJSONArray("size").getInt(1)
    private val labels = json.optJSONArray("labels_size") ?: json.getJSONArray("size")
    val labelsHeight = labels.getInt(0)
    val labelsWidth = labels.getInt(1)
    val planar = json.getString("layout") == "NCHW"
    val dtype: String = json.getString("dtype")
    private val low = json.optDouble("low", 0.0).toFloat()
    private val high = json.optDouble("high", 255.0).toFloat()
    private val mean = json.optJSONArray("mean").floats(0f)
    private val deviation = json.optJSONArray("std").floats(1f)
    private val quantization = json.optJSONObject("quantization")

    /** Shape of the stored image. */
    val shape = if (planar) longArrayOf(1, 3, height.toLong(), width.toLong()) else longArrayOf(1, height.toLong(), width.toLong(), 3)

    /** Real values in stored order, for float32. */
    fun floats(image: RgbImage): FloatArray = FloatArray(image.rgb.size).also { out -> store(image) { at, c, byte -> out[at] = real(byte, c) } }

    /** Stored bytes: of int8 and uint8, quantised where the manifest says so. */
    fun bytes(image: RgbImage): ByteArray {
        val scale = quantization?.getDouble("scale")?.toFloat() ?: 1f
        val zero = quantization?.getInt("zero_point") ?: 0
        val range = if (dtype == "uint8") 0f..255f else -128f..127f
        val tables = List(3) { c -> ByteArray(256) { (round(real(it, c) / scale) + zero).coerceIn(range).toInt().toByte() } }
        return ByteArray(image.rgb.size).also { out -> store(image) { at, c, byte -> out[at] = tables[c][byte] } }
    }

    private fun real(byte: Int, channel: Int) = (low + byte * ((high - low) / 255f) - mean[channel]) / deviation[channel]

    private inline fun store(image: RgbImage, put: (Int, Int, Int) -> Unit) {
        val pixels = image.width * image.height
        for (i in 0 until pixels) for (c in 0 until 3) put(if (planar) c * pixels + i else i * 3 + c, c, image.rgb[i * 3 + c].toInt() and 0xFF)
    }
}

/**
 * Run [entry], leave at [exit] if the confidence >= [threshold]; [finish] turns its logits into labels. Without a threshold
 * (an anytime bundle) only a deadline ends before the last stage.
 */
class Stage(json: JSONObject) {
    val entry: String = json.getString("entry")
    val exit: String = json.getString("exit")
    val threshold: Float? = if (json.isNull("threshold")) null else json.getDouble("threshold").toFloat()
    val finish: String? = if (json.isNull("finish")) null else json.getString("finish")
}

/** One size that the file runs at. */
class Resolution(json: JSONObject) {
    val input = ImageInput(json.getJSONObject("input"))
    val stages = json.getJSONArray("stages").objects().map(::Stage)
    val thresholds = stages.dropLast(1).map { it.threshold ?: Float.POSITIVE_INFINITY }.toFloatArray()
}

/** [exit]: the stage it left at, from 0; [labels]: class indices, row by row, [width] x [height]. */
class Result(val exit: Int, val confidences: List<Float>, val labels: ByteArray, val width: Int, val height: Int)

/** A pixel takes a new label once it was seen in [frames] frames in a row. */
class LabelFilter(private val frames: Int) {
    private var shown = ByteArray(0)
    private var before = ByteArray(0)
    private var count = IntArray(0)

    fun reset() { shown = ByteArray(0) }

    fun show(labels: ByteArray): ByteArray {
        if (frames <= 1 || shown.size != labels.size) {
            shown = labels.copyOf()
            count = IntArray(labels.size)
        } else for (i in labels.indices) {
            count[i] = if (labels[i] == before[i]) minOf(count[i] + 1, frames) else 1
            if (count[i] >= frames) shown[i] = labels[i]
        }
        before = labels
        return shown.copyOf()
    }
}

/**
 * How long every entry took when it last ran: a stage is begun only where its answer will be there in time. What never ran
 * is tried; a stage that was passed over is expected a little sooner the next time, so that one slow run does not shut it out.
 */
class Pace {
    private val nanoseconds = mutableMapOf<String, Double>()

    /** Run an entry and remember its time. */
    fun <T> timed(entry: String, run: () -> T): T {
        val begun = System.nanoTime()
        return run().also { nanoseconds[entry] = (System.nanoTime() - begun).toDouble() }
    }

    /** Whether [entries] fit into the time that is left. */
    fun allows(entries: List<String>, left: Long): Boolean {
        if (entries.sumOf { nanoseconds[it] ?: 0.0 } <= left) return true
        for (entry in entries) nanoseconds.computeIfPresent(entry) { _, taken -> taken * 0.98 }
        return false
    }
}

/** Not thread-safe: call it from one thread. Hashes are the app store's to check. */
class Segmenter<Value>(private val folder: File, load: (File, JSONObject) -> Model<Value>) : AutoCloseable {
    val manifest: JSONObject = readManifest(folder)
    private val resolutions = listOf(Resolution(manifest)) + manifest.optJSONArray("resolutions").objects().map(::Resolution)
    private val model = load(File(folder, manifest.getJSONObject("artifact").getString("path")), manifest)
    private val temporal = manifest.optJSONObject("temporal") ?: JSONObject()
    private val exitMargin = temporal.optDouble("exit_margin", 0.0).toFloat()
    private val filter = LabelFilter(temporal.optInt("label_frames", 1))
    private val pace = Pace()
    private var previous = 0 // the exit of the frame before; 0 asks for no margin anywhere

    override fun close() = model.close()

    /** Forget the frames so far: after a cut, or when the camera starts again. */
    fun newSequence() {
        previous = 0
        filter.reset()
    }

    /**
     * The next frame. It leaves at the first exit whose confidence reaches its threshold; where the frame before went
     * deeper than that exit, the manifest's exit margin more is asked. A stage that would not end within [deadline]
     * nanoseconds of this call, by what it took the last time, is not begun: the answer is that of the exit before it.
     */
    fun run(image: RgbImage, deadline: Long = NEVER): Result {
        val begun = System.nanoTime()
        val wanted = ln(image.width.toDouble() / image.height)
        val resolution = resolutions.minByOrNull { abs(wanted - ln(it.input.width.toDouble() / it.input.height)) }!!
        val limits = FloatArray(resolution.thresholds.size) { resolution.thresholds[it] + if (it < previous) exitMargin else 0f }
        val result = run(resolution, image, limits) { if (deadline == NEVER) NEVER else deadline - (System.nanoTime() - begun) }
        previous = result.exit
        return Result(result.exit, result.confidences, filter.show(result.labels), result.width, result.height)
    }

    private fun run(resolution: Resolution, image: RgbImage, limits: FloatArray, left: () -> Long = { NEVER }): Result {
        val input = resolution.input
        var handedOn = model.image(input, image.resized(input.width, input.height))
        val confidences = mutableListOf<Float>()
        for ((n, stage) in resolution.stages.withIndex()) {
            val taken = handedOn
            val outputs = pace.timed(stage.entry) { model.run(stage.entry, taken) }
            val next = resolution.stages.getOrNull(n + 1)
            if (next != null) confidences += model.confidence(stage.entry, outputs[2])
            if (next == null || confidences.last() >= limits[n] || !pace.allows(listOfNotNull(next.entry, next.finish), left())) {
                val logits = outputs[if (next == null) 0 else 1]
                val labels = model.labels(if (stage.finish == null) logits else pace.timed(stage.finish) { model.run(stage.finish, logits)[0] })
                return Result(n, confidences, labels, input.labelsWidth, input.labelsHeight)
            }
            handedOn = outputs[0]
        }
        throw BundleException("manifest.json has no stages")
    }

    /** The sample image to every exit, held against the validated answers: what held, a line each; throws if not. */
    fun selfCheck(): List<String> {
        val check = manifest.getJSONObject("self_check")
        val resolution = resolutions[0]
        val sample = RgbImage.fromPpm(File(folder, check.getString("image")))
        val exit = run(resolution, sample, resolution.thresholds).exit
        if (exit != check.getInt("exit")) throw BundleException("self-check failed: the sample leaves at exit $exit, not ${check.getInt("exit")}")
        return check.getJSONArray("answers").objects().mapIndexed { n, answer ->
            val limits = FloatArray(resolution.thresholds.size) { if (it < n) Float.POSITIVE_INFINITY else Float.NEGATIVE_INFINITY }
            compare(resolution.stages[n].exit, run(resolution, sample, limits), answer, check)
        }
    }

    private fun compare(exit: String, result: Result, answer: JSONObject, check: JSONObject): String {
        val expected = readPnm(File(folder, answer.getString("labels")), "P5", 1).third
        val equal = result.labels.indices.count { result.labels[it] == expected[it] }.toDouble() / expected.size
        val confidences = answer.getJSONArray("confidences")
        val error = result.confidences.indices.maxOfOrNull { abs(result.confidences[it] - confidences.getDouble(it)) } ?: 0.0
        val told = "$exit: ${"%.4f".format(equal)} of the labels agree, confidences differ by $error at most"
        val held = equal >= check.getDouble("label_agreement") && error <= check.getDouble("confidence_tolerance")
        if (!held) throw BundleException("self-check failed at $told")
        return told
    }

    companion object {
        /** Newest schema of manifest.json that this code reads. */
        const val SCHEMA = 2

        /** No deadline. */
        const val NEVER = Long.MAX_VALUE

        private fun readManifest(folder: File): JSONObject {
            val file = File(folder, "manifest.json")
            if (!file.isFile) throw BundleException("no bundle in $folder: manifest.json is missing")
            val manifest = JSONObject(file.readText())
            val schema = manifest.getInt("schema")
            if (schema > SCHEMA) throw BundleException("$file has schema $schema, this code reads up to $SCHEMA: use the bundle's own glue")
            return manifest
        }
    }
}

private fun JSONArray?.objects(): List<JSONObject> = if (this == null) emptyList() else List(length()) { getJSONObject(it) }

private fun JSONArray?.floats(otherwise: Float) = FloatArray(3) { this?.getDouble(it)?.toFloat() ?: otherwise }
