"""ExecuTorch 1.5.1, XNNPACK int8: two graphs that lower without a word and then fail. `python xnnpack_int8.py NAME`.

called_twice: one convolution called twice fails at load; enlarged_output: logits that are an output and enlarged by
bilinear interpolation as well fail at run time (0x10). With `cured` behind the name both run. A process each: a failure
may take the interpreter along.
"""

import copy
import sys

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import XNNPACKQuantizer, get_symmetric_quantization_config
from executorch.exir import to_edge_transform_and_lower
from executorch.runtime import Runtime
from torch.nn.functional import interpolate
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e


class CalledTwice(torch.nn.Module):
    def __init__(self, cured: bool) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(3, 3, 3, padding=1)
        self.second = copy.deepcopy(self.first) if cured else self.first

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x))


class EnlargedOutput(torch.nn.Module):
    def __init__(self, cured: bool) -> None:
        super().__init__()
        self.conv, self.cured = torch.nn.Conv2d(3, 4, 3, padding=1), cured

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = self.conv(x)
        copied = logits * 1.0 if self.cured else logits
        return logits, interpolate(copied, size=(32, 32), mode="bilinear", align_corners=False)


def main(name: str, cured: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 3, 16, 16)
    module = {"called_twice": CalledTwice, "enlarged_output": EnlargedOutput}[name](cured).eval()
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(torch.export.export(module, (x,), strict=False).module(), quantizer)
    prepared(x)
    exported = torch.export.export(convert_pt2e(prepared), (x,), strict=False)
    lowered = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()]).to_executorch()
    Runtime.get().load_program(lowered.buffer).load_method("forward").execute([x])
    print("runs")


if __name__ == "__main__":
    main(sys.argv[1], cured="cured" in sys.argv[2:])
