"""ExecuTorch 1.5.1, XNNPACK int8 with one convolution in floating point: two graphs that fail.

`python xnnpack_mixed.py NAME`. behind_padding: a padding that is wider at one end is put into int8 whatever reads it,
and lowering refuses ("Weight and Input should both be quantized"); padded with the least positive number it stays as it
is. output_read: what the convolution reads is an output as well, and running fails (0x1); multiplied by 1 in between it
runs. With `cured` behind the name both run.
"""

import sys
from collections.abc import Callable

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import XNNPACKQuantizer, get_symmetric_quantization_config
from executorch.exir import to_edge_transform_and_lower
from executorch.runtime import Runtime
from torch.nn.functional import pad
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e


class BehindPadding(torch.nn.Module):
    def __init__(self, cured: bool) -> None:
        super().__init__()
        self.first, self.kept = torch.nn.Conv2d(3, 3, 1), torch.nn.Conv2d(3, 4, 3, stride=2)
        self.value = torch.finfo(torch.float32).tiny if cured else 0.0

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.kept(pad(self.first(x), (0, 1, 0, 1), value=self.value)),)


class OutputRead(torch.nn.Module):
    def __init__(self, cured: bool) -> None:
        super().__init__()
        self.first, self.kept, self.last = torch.nn.Conv2d(3, 8, 1), torch.nn.Conv2d(8, 8, 1), torch.nn.Conv2d(8, 4, 1)
        self.cured = cured

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.first(x)
        copied = features * 1.0 if self.cured else features
        return features, self.last(self.kept(copied).relu())


def all_but(name: str) -> Callable[[torch.fx.Node], bool]:
    """Everything but what comes from the module `name`."""
    return lambda node: all(path != name for path, _ in (node.meta.get("nn_module_stack") or {}).values())


def main(name: str, cured: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 3, 16, 24)
    module = {"behind_padding": BehindPadding, "output_read": OutputRead}[name](cured).eval()
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    quantizer.set_filter_function(all_but("kept"))
    prepared = prepare_pt2e(torch.export.export(module, (x,), strict=False).module(), quantizer)
    prepared(x)
    exported = torch.export.export(convert_pt2e(prepared), (x,), strict=False)
    lowered = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()]).to_executorch()
    found = Runtime.get().load_program(lowered.buffer).load_method("forward").execute([x])
    print("runs, largest error", max(float((a - b).abs().max()) for a, b in zip(found, module(x), strict=True)))


if __name__ == "__main__":
    main(sys.argv[1], cured="cured" in sys.argv[2:])
