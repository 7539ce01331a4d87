// SPDX-License-Identifier: Apache-2.0
// A .tflite file on LiteRT's interpreter (com.google.ai.edge.litert:litert): the CPU, or an NPU through NNAPI.
package messdeploy

import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.tensorflow.lite.Interpreter
import org.tensorflow.lite.nnapi.NnApiDelegate

/** [accelerator]: name of the NNAPI device, such as "google-edgetpu" on a Pixel; null for the CPU. */
class LiteRTModel(file: File, threads: Int = 1, accelerator: String? = null) : Model<ByteBuffer> {
    // An operator that the NPU refuses must not fall to NNAPI's slow reference code: the interpreter's kernels take it.
    private val delegate = accelerator?.let { NnApiDelegate(NnApiDelegate.Options().setAcceleratorName(it).setUseNnapiCpu(false)) }
    private val interpreter = Interpreter(file, Interpreter.Options().setNumThreads(threads).apply { delegate?.let(::addDelegate) })

    override fun image(input: ImageInput, image: RgbImage): ByteBuffer = when (input.dtype) {
        "float32" -> buffer(image.rgb.size * 4).apply { asFloatBuffer().put(input.floats(image)) }
        "int8", "uint8" -> buffer(image.rgb.size).apply { put(input.bytes(image)) }
        else -> throw BundleException("an image of dtype ${input.dtype} is not supported")
    }

    override fun run(entry: String, input: ByteBuffer): List<ByteBuffer> {
        input.rewind()
        val outputs = outputs(entry).associateWith { buffer(interpreter.getOutputTensorFromSignature(it, entry).numBytes()) }
        interpreter.runSignature(mapOf<String, Any>(interpreter.getSignatureInputs(entry)[0] to input), outputs.toMap<String, Any>(), entry)
        return outputs.values.onEach { it.rewind() }.toList()
    }

    override fun confidence(entry: String, value: ByteBuffer): Float {
        val tensor = interpreter.getOutputTensorFromSignature(outputs(entry)[2], entry)
        val affine = tensor.quantizationParams()
        return if (affine.scale == 0f) value.getFloat(0) else affine.scale * (value.get(0) - affine.zeroPoint)
    }

    override fun labels(value: ByteBuffer): ByteArray {
        val labels = value.asIntBuffer()
        return ByteArray(labels.remaining()) { labels.get(it).toByte() }
    }

    override fun close() {
        interpreter.close()
        delegate?.close()
    }

    /** output_2 before output_10: an entry's outputs in its own order. */
    private fun outputs(entry: String) = interpreter.getSignatureOutputs(entry).sortedWith(compareBy({ it.length }, { it }))

    private fun buffer(bytes: Int): ByteBuffer = ByteBuffer.allocateDirect(bytes).order(ByteOrder.nativeOrder())
}
