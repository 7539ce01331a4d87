"""ExecuTorch 1.5.1, XNNPACK: Hardsigmoid has no kernel there; its whole numbers become casts off the delegate.

Prints the operators of the lowered graph: casts beside the delegate as written, none with relu6(x + 3.0) * (1.0 / 6.0).
"""

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower


class AsWritten(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Conv2d(3, 5, 1), torch.nn.Conv2d(5, 3, 1)

    def squash(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.hardsigmoid(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.squash(self.first(x)))


class Respelt(AsWritten):
    def squash(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.relu6(x + 3.0) * (1.0 / 6.0)


if __name__ == "__main__":
    for kind in (AsWritten, Respelt):
        exported = torch.export.export(kind().eval(), (torch.randn(1, 3, 8, 8),), strict=False)
        lowered = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()]).exported_program()
        print([str(node.target) for node in lowered.graph.nodes if node.op == "call_function"])
