"""ExecuTorch 1.5.1, XNNPACK, fp32: convolution, permute to channels last, softmax over the last dimension: wrong.

Prints the largest difference from eager PyTorch: about 0.5 as written, about 1e-7 with the softmax before the permute.
"""

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower
from executorch.runtime import Runtime


class AsWritten(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 5, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.conv(x).permute(0, 2, 3, 1), -1)


class Cured(AsWritten):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.conv(x), 1).permute(0, 2, 3, 1)


def difference(module: torch.nn.Module, x: torch.Tensor) -> float:
    exported = torch.export.export(module.eval(), (x,), strict=False)
    lowered = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()]).to_executorch()
    (found,) = Runtime.get().load_program(lowered.buffer).load_method("forward").execute([x])
    return float((found - module(x)).abs().max())


if __name__ == "__main__":
    torch.manual_seed(0)
    image = torch.randn(1, 3, 8, 8)
    for kind in (AsWritten, Cured):
        print(kind.__name__, difference(kind(), image))
