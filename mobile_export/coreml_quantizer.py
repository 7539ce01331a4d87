"""Which tensors of a graph Core ML computes with in 8 bits (W8A8): those around convolutions and additions.

coremltools' own quantizer traces every pattern that it knows anew for every program, half a minute each; this one reads
the graph.
"""

from collections.abc import Callable, Iterator

import torch
from torch import fx
from torchao.quantization.pt2e import MinMaxObserver, PerChannelMinMaxObserver
from torchao.quantization.pt2e.quantizer import QuantizationAnnotation, QuantizationSpec, Quantizer

aten = torch.ops.aten
ACTIVATIONS = tuple(
    getattr(aten, name).default for name in ("relu", "relu_", "relu6", "relu6_", "hardtanh", "hardtanh_")
)
VALUES = QuantizationSpec(
    dtype=torch.uint8,
    quant_min=0,
    quant_max=255,
    qscheme=torch.per_tensor_affine,
    observer_or_fake_quant_ctr=MinMaxObserver.with_args(eps=2**-12),
)
WEIGHTS = QuantizationSpec(
    dtype=torch.int8,
    quant_min=-127,
    quant_max=127,
    qscheme=torch.per_channel_symmetric,
    ch_axis=0,
    observer_or_fake_quant_ctr=PerChannelMinMaxObserver.with_args(eps=2**-12),
)


class CoremlQuantizer(Quantizer):  # type: ignore[misc]  # torchao has no types
    """Annotates convolutions (weights per channel) and additions, each with the activation that follows it.

    `wanted`: false for operators that stay in floating point.
    """

    def __init__(self, wanted: Callable[[fx.Node], bool] = lambda node: True) -> None:
        super().__init__()
        self._wanted = wanted

    def annotate(self, model: fx.GraphModule) -> fx.GraphModule:
        """Say at every such operator how its inputs and its output are stored."""
        for node in model.graph.nodes:
            if not self._wanted(node):
                continue
            if node.target is aten.conv2d.default:
                _annotate(node, {node.args[0]: VALUES, node.args[1]: WEIGHTS})
            elif node.target is aten.add.Tensor and all(isinstance(term, fx.Node) for term in node.args[:2]):
                _annotate(node, dict.fromkeys(node.args[:2], VALUES))
        return model

    def validate(self, model: fx.GraphModule) -> None:
        """Nothing to refuse: what is not annotated stays as it is."""


def _annotate(node: fx.Node, inputs: dict[fx.Node, QuantizationSpec]) -> None:
    following = next(_only_activation(node), None)
    given = None if following is not None else VALUES
    node.meta["quantization_annotation"] = QuantizationAnnotation(inputs, given, _annotated=True)
    if following is not None:
        following.meta["quantization_annotation"] = QuantizationAnnotation({}, VALUES, _annotated=True)


def _only_activation(node: fx.Node) -> Iterator[fx.Node]:
    """The activation that is the only one to take what `node` gives."""
    users = list(node.users)
    if len(users) == 1 and users[0].target in ACTIVATIONS:
        yield users[0]
