"""Keeps the channel maximum of an int8 .tflite on the integers.

The quantiser knows neither REDUCE_MAX nor ARG_MAX and wraps them in DEQUANTIZE and QUANTIZE. Both only compare, so on
the stored integers they give the same result, and the whole graph stays where an integer accelerator takes it.
"""

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

COMPARING = (schema.BuiltinOperator.REDUCE_MAX, schema.BuiltinOperator.ARG_MAX)
ALIGNMENT = 16
"""Bytes to which constants are aligned, as the converter does."""


def keep_integer(content: bytes) -> bytes:
    """`content` with every REDUCE_MAX and ARG_MAX reading integers where a DEQUANTIZE stood before it."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    for subgraph in model.subgraphs:
        for operator in list(subgraph.operators):
            if _kind(model, operator) in COMPARING:
                _read_integers(model, subgraph, operator)
        _drop_unread(model, subgraph)
    return serialize(model, content)


def _kind(model: Any, operator: Any) -> int:
    code = model.operatorCodes[operator.opcodeIndex]
    return int(max(code.builtinCode, code.deprecatedBuiltinCode))


def _read_integers(model: Any, subgraph: Any, operator: Any) -> None:
    dequantize = _producer(subgraph, operator.inputs[0])
    if dequantize is None or _kind(model, dequantize) != schema.BuiltinOperator.DEQUANTIZE:
        return
    if _kind(model, operator) == schema.BuiltinOperator.REDUCE_MAX and not _is_requantised(model, subgraph, operator):
        return  # what follows is an exit policy in floating point
    source = dequantize.inputs[0]
    operator.inputs = _with_first(operator.inputs, source)
    if _kind(model, operator) == schema.BuiltinOperator.REDUCE_MAX:
        result = subgraph.tensors[operator.outputs[0]]
        result.type = subgraph.tensors[source].type
        result.quantization = subgraph.tensors[source].quantization
        _skip_equal_requantization(model, subgraph, operator)


def _is_requantised(model: Any, subgraph: Any, operator: Any) -> bool:
    readers = [reader for reader in subgraph.operators if operator.outputs[0] in list(reader.inputs)]
    return all(_kind(model, reader) == schema.BuiltinOperator.QUANTIZE for reader in readers)


def _skip_equal_requantization(model: Any, subgraph: Any, operator: Any) -> None:
    """A QUANTIZE to the parameters that a tensor has already is left out."""
    result = operator.outputs[0]
    for reader in [reader for reader in subgraph.operators if result in list(reader.inputs)]:
        target = reader.outputs[0]
        if _kind(model, reader) == schema.BuiltinOperator.QUANTIZE and _same_scale(subgraph, result, target):
            operator.outputs = _with_first(operator.outputs, target)
            reader.inputs = _with_first(reader.inputs, target)  # reads what it writes: dropped below


def _with_first(indices: Any, first: int) -> Any:
    changed = np.array(indices)
    changed[0] = first
    return changed


def _same_scale(subgraph: Any, first: int, second: int) -> bool:
    a, b = (subgraph.tensors[index].quantization for index in (first, second))
    return abs(float(a.scale[0]) / float(b.scale[0]) - 1.0) < 1e-6 and int(a.zeroPoint[0]) == int(b.zeroPoint[0])


def _producer(subgraph: Any, tensor: int) -> Any:
    return next((operator for operator in subgraph.operators if tensor in list(operator.outputs)), None)


def _drop_unread(model: Any, subgraph: Any) -> None:
    """Drop each DEQUANTIZE that nothing reads any more and each QUANTIZE that became a loop."""
    read = {int(index) for operator in subgraph.operators for index in operator.inputs}
    read.update(int(index) for index in subgraph.outputs)
    kept = []
    for operator in subgraph.operators:
        kind = _kind(model, operator)
        unread = kind == schema.BuiltinOperator.DEQUANTIZE and int(operator.outputs[0]) not in read
        loop = kind == schema.BuiltinOperator.QUANTIZE and operator.inputs[0] == operator.outputs[0]
        if not unread and not loop:
            kept.append(operator)
    subgraph.operators = kept


def serialize(model: Any, content: bytes) -> bytes:
    """The model with its constants behind the flatbuffer, aligned: Python's flatbuffers can't align inside it."""
    constants = {index: data for index, buffer in enumerate(model.buffers) if (data := constant(buffer, content))}
    for index in constants:
        buffer = model.buffers[index]
        buffer.data, buffer.offset, buffer.size = None, 1, 1  # 1 is no default: the fields take their final room
    position = _aligned(len(flatbuffer_utils.convert_object_to_bytearray(model)))
    tail = bytearray()
    for index, data in constants.items():
        buffer = model.buffers[index]
        buffer.offset, buffer.size = position + len(tail), len(data)
        tail += data + bytes(_aligned(len(data)) - len(data))
    head = bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    return head + bytes(position - len(head)) + bytes(tail)


def constant(buffer: Any, content: bytes) -> bytes:
    """The bytes of a model's buffer, inside the flatbuffer or behind it; empty for a tensor made at run time."""
    if buffer.data is not None:
        return bytes(buffer.data)
    return content[buffer.offset : buffer.offset + buffer.size] if buffer.offset > 1 else b""


def _aligned(length: int) -> int:
    return -(-length // ALIGNMENT) * ALIGNMENT
