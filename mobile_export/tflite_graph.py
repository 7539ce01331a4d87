"""Reading a .tflite file: its signatures' ports and operators."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from device_profiler.workload import Operator
from mobile_export.artifact import Port, Quantization
from mobile_export.tensors import TensorSpec
from mobile_export.tflite_integer import constant

INTEGERS = ("int8", "int16", "int32", "int64", "bool")
_BYTES = {"float32": 4, "float16": 2, "int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1, "bool": 1}


@dataclass(frozen=True)
class Convolution:
    """A convolution of a float file. `buffer`: number of its weights' buffer, which signatures share."""

    source: str
    weight: str
    buffer: int
    weights: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    channel_axis: int


@dataclass(frozen=True)
class Placed:
    """An operator, and whether one off the integers, and a softmax or an argmax, comes before it on its way."""

    operator: Operator
    behind_float: bool
    behind_softmax: bool


class TfliteGraph:
    """The flatbuffer of one .tflite, unpacked."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._model = schema.ModelT.InitFromPackedBuf(content, 0)
        self._kinds = _names(schema.BuiltinOperator)
        self._types = _names(schema.TensorType)
        self.signatures = {_text(signature.signatureKey): signature for signature in self._model.signatureDefs}

    def ports(self, signature: str, names: tuple[tuple[str, ...], tuple[str, ...]]) -> tuple[tuple[Port, ...], ...]:
        """Input ports and output ports of a signature; `names` are the program's names for them, in order."""
        definition = self.signatures[signature]
        subgraph = self._model.subgraphs[definition.subgraphIndex]
        return tuple(
            tuple(
                self._port(subgraph.tensors[edge.tensorIndex], name)
                for edge, name in zip(_numbered(edges), given, strict=True)
            )
            for edges, given in zip((definition.inputs, definition.outputs), names, strict=True)
        )

    def tensor_name(self, signature: str, *, output: int | None = None, input: int | None = None) -> str:
        """The unique name of an input or output tensor of a signature."""
        definition = self.signatures[signature]
        edges, position = (definition.inputs, input) if input is not None else (definition.outputs, output)
        assert position is not None
        index = _numbered(edges)[position].tensorIndex
        return _text(self._model.subgraphs[definition.subgraphIndex].tensors[index].name)

    def first_output(self, signature: str) -> str:
        """The unique name of what the first operator of a signature writes."""
        subgraph = self._model.subgraphs[self.signatures[signature].subgraphIndex]
        return _text(subgraph.tensors[subgraph.operators[0].outputs[0]].name)

    def convolutions(self) -> Iterator["Convolution"]:
        """Every convolution with a bias, of every signature of a float file."""
        for subgraph in self._model.subgraphs:
            for operator in subgraph.operators:
                kind = self._kind(operator)
                if kind in ("CONV_2D", "DEPTHWISE_CONV_2D") and len(operator.inputs) == 3 and operator.inputs[2] >= 0:
                    source, weight, bias = (subgraph.tensors[i] for i in operator.inputs)
                    values = np.frombuffer(constant(self._model.buffers[weight.buffer], self._content), np.float32)
                    yield Convolution(
                        source=_text(source.name),
                        weight=_text(weight.name),
                        buffer=int(weight.buffer),
                        weights=values.reshape(_shape(weight)),
                        bias=np.frombuffer(constant(self._model.buffers[bias.buffer], self._content), np.float32),
                        channel_axis=3 if kind == "DEPTHWISE_CONV_2D" else 0,
                    )

    def outputs_with(self, signature: str, weights: npt.NDArray[np.float32]) -> Iterator[str]:
        """Unique names of what convolutions with just these weights (as PyTorch has them) make in a signature."""
        subgraph = self._model.subgraphs[self.signatures[signature].subgraphIndex]
        for operator in subgraph.operators:
            order = {"CONV_2D": (0, 2, 3, 1), "DEPTHWISE_CONV_2D": (1, 2, 3, 0)}.get(self._kind(operator))
            if order is None:
                continue
            stored = subgraph.tensors[operator.inputs[1]]
            expected = weights.transpose(order)
            if _shape(stored) == expected.shape and np.array_equal(self._floats(stored), expected.reshape(-1)):
                yield _text(subgraph.tensors[operator.outputs[0]].name)

    def _floats(self, tensor: Any) -> npt.NDArray[np.float32]:
        return np.frombuffer(constant(self._model.buffers[tensor.buffer], self._content), np.float32)

    def confidence_tail(self, signature: str) -> tuple[str, ...]:
        """Names of what an exit policy makes of a softmax or an argmax, in order.

        Empty where that is no more than the best probability and its mean, which integers hold. The maximum of a
        softmax itself only compares, and is not in it.
        """
        subgraph = self._model.subgraphs[self.signatures[signature].subgraphIndex]
        softmax = {int(one.outputs[0]) for one in subgraph.operators if self._kind(one) == "SOFTMAX"}
        tail = [
            one for one in self._behind_softmax(subgraph)
            if not (self._kind(one) == "REDUCE_MAX" and int(one.inputs[0]) in softmax)
        ]
        if {self._kind(one) for one in tail} <= {"MEAN"}:
            return ()
        return tuple(_text(subgraph.tensors[i].name) for one in tail for i in one.outputs)

    def _behind_softmax(self, subgraph: Any) -> list[Any]:
        """The operators that a softmax's or an argmax's result reaches, in order."""
        reached: set[int] = set()
        found = []
        for operator in subgraph.operators:
            behind = bool(reached.intersection(int(i) for i in operator.inputs))
            if behind:
                found.append(operator)
            if behind or self._kind(operator) in ("SOFTMAX", "ARG_MAX"):
                reached.update(int(i) for i in operator.outputs)
        return found

    def outputs_of(self, kind: str, behind: str) -> Iterator[str]:
        """Names of the tensors that operators of `kind` make of what an operator of kind `behind` made."""
        for subgraph in self._model.subgraphs:
            made = {int(maker.outputs[0]) for maker in subgraph.operators if self._kind(maker) == behind}
            for operator in subgraph.operators:
                if self._kind(operator) == kind and int(operator.inputs[0]) in made:
                    yield _text(subgraph.tensors[operator.outputs[0]].name)

    def operators(self, signature: str) -> Iterator[Placed]:
        """Each operator of a signature, in order. `delegated`: every tensor it reads and writes is an integer."""
        subgraph = self._model.subgraphs[self.signatures[signature].subgraphIndex]
        floats: set[int] = set()
        tail = self._behind_softmax(subgraph)
        for operator in subgraph.operators:
            integer = all(self._type(subgraph.tensors[i]) in INTEGERS for i in _present(operator))
            behind_float = any(i in floats for i in operator.inputs)
            if not integer or behind_float:
                floats.update(int(i) for i in operator.outputs)
            yield Placed(self._operator(subgraph, operator, integer), behind_float, operator in tail)

    def _operator(self, subgraph: Any, operator: Any, integer: bool) -> Operator:
        kind = self._kind(operator)
        inputs = [subgraph.tensors[i] for i in operator.inputs if i >= 0]
        constants = [tensor for tensor in inputs if self._is_constant(tensor)]
        outputs = [subgraph.tensors[i] for i in operator.outputs if i >= 0]
        return Operator(
            kind=kind,
            macs=_macs(kind, [_shape(tensor) for tensor in inputs], _shape(outputs[0])),
            bytes_weights=sum(self._nbytes(tensor) for tensor in constants),
            bytes_in=sum(self._nbytes(tensor) for tensor in inputs if tensor not in constants),
            bytes_out=sum(self._nbytes(tensor) for tensor in outputs),
            delegated=integer,
        )

    def _kind(self, operator: Any) -> str:
        code = self._model.operatorCodes[operator.opcodeIndex]
        return self._kinds[max(code.builtinCode, code.deprecatedBuiltinCode)]

    def _is_constant(self, tensor: Any) -> bool:
        return bool(constant(self._model.buffers[tensor.buffer], self._content))

    def _port(self, tensor: Any, name: str) -> Port:
        shape = _shape(tensor)
        return Port(
            TensorSpec(name, shape, self._type(tensor)), _quantization(tensor), "NHWC" if len(shape) == 4 else ""
        )

    def _type(self, tensor: Any) -> str:
        return self._types[tensor.type].lower()

    def _nbytes(self, tensor: Any) -> int:
        return math.prod(_shape(tensor)) * _BYTES[self._type(tensor)]


def _macs(kind: str, inputs: list[tuple[int, ...]], output: tuple[int, ...]) -> int:
    """Multiply-adds by TFLite's layouts: filters are [out, height, width, in], depthwise [1, height, width, out]."""
    if kind == "CONV_2D":
        return math.prod(output) * math.prod(inputs[1][1:])
    if kind == "DEPTHWISE_CONV_2D":
        return math.prod(output) * math.prod(inputs[1][1:3])
    if kind in ("FULLY_CONNECTED", "BATCH_MATMUL"):
        return math.prod(output) * inputs[0][-1]
    if kind == "TRANSPOSE_CONV":
        return math.prod(inputs[2]) * math.prod(inputs[1][:3])
    return 0


def _quantization(tensor: Any) -> Quantization | None:
    stored = tensor.quantization
    if stored is None or stored.scale is None or len(stored.scale) == 0:
        return None
    return Quantization(float(stored.scale[0]), int(stored.zeroPoint[0]))


def _present(operator: Any) -> list[int]:
    return [int(i) for i in (*operator.inputs, *operator.outputs) if i >= 0]


def _shape(tensor: Any) -> tuple[int, ...]:
    return () if tensor.shape is None else tuple(int(size) for size in tensor.shape)


def _numbered(edges: list[Any]) -> list[Any]:
    """args_0, args_1, ... or output_0, output_1, ... by their number."""
    return sorted(edges, key=lambda edge: int(_text(edge.name).rsplit("_", 1)[1]))


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _names(enumeration: type) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}
