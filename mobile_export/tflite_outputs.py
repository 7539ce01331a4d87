"""Makes the signatures of a mixed-precision .tflite name the outputs that its graphs really give, as integers.

Where an output of a signature is also read by a layer in floating point, ai-edge-quantizer 0.10 puts the float copy in
the graph's list of outputs and leaves the signature as it was, or the other way round: the interpreter then finds
nothing at the place that the signature names.
"""

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from mobile_export.tflite_integer import serialize

INTEGER = schema.TensorType.INT8


def settle_outputs(original: bytes, quantized: bytes) -> bytes:
    """`quantized`, made of `original`, with one list of outputs for graph and signature: the int8 tensors."""
    before = schema.ModelT.InitFromPackedBuf(original, 0)
    model = schema.ModelT.InitFromPackedBuf(quantized, 0)
    for old, new in zip(before.signatureDefs, model.signatureDefs, strict=True):
        outputs = list(before.subgraphs[old.subgraphIndex].outputs)
        for was, edge in zip(old.outputs, new.outputs, strict=True):
            _settle(model.subgraphs[new.subgraphIndex], edge, outputs.index(was.tensorIndex))
    return serialize(model, quantized)


def _settle(subgraph: Any, edge: Any, position: int) -> None:
    """One output: `edge` of the signature, at `position` in the graph's list."""
    candidates = int(edge.tensorIndex), int(subgraph.outputs[position])
    chosen = next((index for index in candidates if subgraph.tensors[index].type == INTEGER), candidates[0])
    edge.tensorIndex, subgraph.outputs = chosen, np.array(subgraph.outputs)
    subgraph.outputs[position] = chosen
