"""ai-edge-quantizer 0.10, int8: a channel whose weights died in training turns into noise.

A bias is stored in steps of (input step x weight step): weights of 1e-11 make that step so small that a bias of 1 is
more than int32 holds. Prints the channel's mean error, its own value being 1: as written, and with larger weights.
"""

import litert_torch
import numpy as np
import torch
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import quantizer, recipe


def convolution(least_weight: float) -> torch.nn.Module:
    """The second output channel is dead: all its weights are `least_weight`, and its bias is 1."""
    torch.manual_seed(0)
    module = torch.nn.Conv2d(3, 2, 1)
    with torch.no_grad():
        module.weight[1], module.bias[1] = least_weight, 1.0
    return module.eval()


def error(module: torch.nn.Module, image: torch.Tensor) -> float:
    content = bytes(litert_torch.convert(module, (image,)).model_content())
    quantizing = quantizer.Quantizer(content, recipe.static_wi8_ai8())
    ranges = quantizing.calibrate({"serving_default": [{"args_0": image.numpy()}]})
    interpreter = Interpreter(model_content=bytes(quantizing.quantize(ranges).quantized_model))
    runner = interpreter.get_signature_runner("serving_default")
    (given,), (made,) = runner.get_input_details().values(), runner.get_output_details().values()
    scale, zero = given["quantization"]
    stored = np.clip(np.rint(image.numpy() / scale) + zero, -128, 127).astype(np.int8)
    (found,) = runner(args_0=stored).values()
    scale, zero = made["quantization"]
    return float(np.abs((found[0, 1].astype(np.float32) - zero) * scale - 1.0).mean())


if __name__ == "__main__":
    picture = torch.rand(1, 3, 8, 8)
    for name, least_weight in (("AsWritten", 1e-11), ("Cured", 1e-4)):
        print(name, error(convolution(least_weight), picture))
