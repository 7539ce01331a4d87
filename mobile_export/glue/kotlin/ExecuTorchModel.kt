// SPDX-License-Identifier: Apache-2.0
// A .pte file on ExecuTorch's Android library (org.pytorch:executorch-android).
package messdeploy

import java.io.File
import org.pytorch.executorch.EValue
import org.pytorch.executorch.Module
import org.pytorch.executorch.Tensor

class ExecuTorchModel(file: File, threads: Int = 1) : Model<EValue> {
    private val module = Module.load(file.path, Module.LOAD_MODE_MMAP, threads)

    override fun image(input: ImageInput, image: RgbImage): EValue = EValue.from(
        when (input.dtype) {
            "float32" -> Tensor.fromBlob(input.floats(image), input.shape)
            "uint8" -> Tensor.fromBlobUnsigned(input.bytes(image), input.shape)
            "int8" -> Tensor.fromBlob(input.bytes(image), input.shape)
            else -> throw BundleException("an image of dtype ${input.dtype} is not supported")
        },
    )

    override fun run(entry: String, input: EValue): List<EValue> = module.execute(entry, input).toList()

    override fun confidence(entry: String, value: EValue): Float = value.toTensor().dataAsFloatArray[0]

    override fun labels(value: EValue): ByteArray {
        val labels = value.toTensor().dataAsIntArray
        return ByteArray(labels.size) { labels[it].toByte() }
    }

    override fun close() = module.destroy()
}
