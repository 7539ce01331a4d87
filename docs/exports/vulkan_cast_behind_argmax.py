"""ExecuTorch 1.5.1, Vulkan: argmax stays on the host, the cast behind it is delegated: back to the GPU for one cast.

Prints the operators of the lowered graph: two delegates around argmax as written, one with the cast kept off it.
"""

import torch
from executorch.backends.vulkan.partitioner.vulkan_partitioner import VulkanPartitioner
from executorch.exir import to_edge_transform_and_lower
from executorch.exir.dialects._ops import ops


class Labels(torch.nn.Module):
    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        enlarged = torch.nn.functional.interpolate(logits, scale_factor=4.0, mode="bilinear", align_corners=False)
        return enlarged.argmax(1).to(torch.int32)


if __name__ == "__main__":
    program = torch.export.export(Labels().eval(), (torch.randn(1, 9, 16, 16),), strict=False)
    for kept_off in ([], [ops.edge.dim_order_ops._to_dim_order_copy.default]):
        partitioner = VulkanPartitioner({"force_fp16": True}, operator_blocklist=kept_off)
        lowered = to_edge_transform_and_lower(program, partitioner=[partitioner]).exported_program()
        print([str(node.target) for node in lowered.graph.nodes if node.op == "call_function"])
