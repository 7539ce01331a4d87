"""Computes what a Core ML package says, in torch: the parity check where there is no Core ML (it runs on Apple only).

Values of type fp16 are rounded to fp16 after every operation; sums within one are taken in float32. Core ML's own units
may keep more or fewer digits inside an operation: `predict` on macOS says so.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from device_profiler.errors import VerificationError
from device_profiler.workload import Array
from mobile_export.mil_program import is_constant, load_function, type_name, variables

Values = dict[str, Tensor]


class MilFunction:
    """One function of a package, ready to run: named arrays in, arrays out in the function's order."""

    def __init__(self, package: Path, function: str) -> None:
        """Raises VerificationError where the program has an operation without a kernel here."""
        program = load_function(package, function)
        self.inputs = {name: type_name(variable) for name, variable in program.inputs.items()}
        self.outputs = {variable.name: type_name(variable) for variable in program.outputs}
        self._constants: Values = {}
        self._steps: list[tuple[_Operation, Kernel]] = []
        for operation in program.operations:
            if is_constant(operation):
                compressed = operation.op_type != "const"
                self._add_constant(
                    operation.outputs[0].name, operation.materialized_val_inference() if compressed else operation.val
                )
            else:
                self._steps.append((_Operation.of(operation), _kernel(operation.op_type)))
                for variable in variables(operation):
                    self._add_constant(variable.name, variable.val)

    def _add_constant(self, name: str, value: object) -> None:
        """Keep an array or a number; texts and missing values are settings, read where they are used."""
        if name not in self._constants and isinstance(value, (np.ndarray, np.generic, int, float)):
            array = np.array(value)
            if array.dtype.kind in "fiub":
                self._constants[name] = _widened(torch.from_numpy(array))

    @torch.inference_mode()
    def run(self, inputs: Mapping[str, Array]) -> tuple[Array, ...]:
        """Outputs as stored: float16 or float32 as the function declares them, int32 for labels."""
        values: Values = dict(self._constants)
        for name, kind in self.inputs.items():
            values[name] = _rounded(_widened(torch.from_numpy(np.array(inputs[name]))), kind)
        for operation, kernel in self._steps:
            values[operation.output] = _rounded(kernel(operation.with_values(values)), operation.kind)
        return tuple(_stored(values[name], kind) for name, kind in self.outputs.items())


def _widened(tensor: Tensor) -> Tensor:
    """Halves as float32 of the same value, small integers as int32: torch computes little with the others."""
    if tensor.dtype in (torch.float16, torch.float64):
        return tensor.float()
    return tensor.int() if tensor.dtype in (torch.int8, torch.uint8, torch.int16, torch.int64) else tensor


def _rounded(tensor: Tensor, kind: str) -> Tensor:
    if kind == "fp16":
        return tensor.half().float()
    return tensor.float() if kind == "fp32" else tensor


def _stored(tensor: Tensor, kind: str) -> Array:
    found: Array = tensor.to({"fp16": torch.float16, "fp32": torch.float32}.get(kind, torch.int32)).numpy()
    return found


@dataclass(frozen=True)
class _Operation:
    """One operation: the names of its tensors, its settings, and while it runs the values by name."""

    output: str
    kind: str
    names: Mapping[str, tuple[str, ...]]
    settings: Mapping[str, Any]
    values: Values

    @classmethod
    def of(cls, operation: Any) -> "_Operation":
        names: dict[str, tuple[str, ...]] = {}
        settings: dict[str, Any] = {}
        for name, given in operation.inputs.items():
            if given is None:
                continue
            several = isinstance(given, (list, tuple))
            names[name] = tuple(variable.name for variable in given) if several else (given.name,)
            if not several and given.val is not None:
                settings[name] = given.val
        return cls(operation.outputs[0].name, type_name(operation.outputs[0]), names, settings, {})

    def with_values(self, values: Values) -> "_Operation":
        return _Operation(self.output, self.kind, self.names, self.settings, values)

    def tensor(self, name: str = "x") -> Tensor:
        return self.values[self.names[name][0]]

    def optional(self, name: str) -> Tensor | None:
        return self.tensor(name) if name in self.names else None

    def tensors(self, name: str) -> list[Tensor]:
        return [self.values[one] for one in self.names[name]]

    def setting(self, name: str, default: Any = None) -> Any:
        """A constant of the operation as plain Python: a number, a string, or a list of numbers."""
        value = self.settings.get(name, default)
        return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


Kernel = Callable[[_Operation], Tensor]


def _kernel(kind: str) -> Kernel:
    if kind not in KERNELS:
        raise VerificationError(
            f"the MIL evaluator has no kernel for operation {kind!r}, so this package can't be checked here: check it "
            "on macOS, where Core ML itself runs, or add a kernel to mobile_export/mil_evaluator.py"
        )
    return KERNELS[kind]


def _elementwise(function: Callable[[Tensor, Tensor], Tensor]) -> Kernel:
    return lambda op: function(op.tensor("x"), op.tensor("y"))


def _reduced(function: Callable[[Tensor, list[int], bool], Tensor]) -> Kernel:
    def kernel(op: _Operation) -> Tensor:
        x = op.tensor()
        axes = op.setting("axes") or list(range(x.dim()))
        return function(x, axes, bool(op.setting("keep_dims", False)))

    return kernel


def _sliced(op: _Operation) -> Tensor:
    """x[begin:end:stride] along every dimension, as numpy slices; a mask says where a bound is the dimension's own."""
    x, no = op.tensor().numpy(), [False] * op.tensor().dim()
    strides, begins, ends = op.setting("stride") or [1] * x.ndim, op.setting("begin"), op.setting("end")
    from_start, to_end = op.setting("begin_mask") or no, op.setting("end_mask") or no
    bounds = zip(begins, ends, strides, from_start, to_end, strict=True)
    found = x[tuple(slice(None if first else b, None if last else e, step) for b, e, step, first, last in bounds)]
    squeezed = tuple(axis for axis, gone in enumerate(op.setting("squeeze_mask") or no) if gone)
    return torch.from_numpy(np.ascontiguousarray(found.squeeze(squeezed)))


def _convolution(op: _Operation) -> Tensor:
    x, weight = op.tensor(), op.tensor("weight")
    strides, dilations = op.setting("strides", [1, 1]), op.setting("dilations", [1, 1])
    effective = [dilation * (size - 1) + 1 for size, dilation in zip(weight.shape[2:], dilations, strict=True)]
    padded = functional.pad(x, _padding(op, effective, strides, x.shape[2:]))
    groups = int(op.setting("groups", 1))
    return functional.conv2d(padded, weight, op.optional("bias"), strides, 0, dilations, groups)


def _padding(op: _Operation, kernel: list[int], strides: list[int], size: torch.Size) -> list[int]:
    """Zeros at left, right, top and bottom, as torch's pad takes them."""
    kind = op.setting("pad_type", "valid")
    if kind == "valid":
        return [0, 0, 0, 0]
    if kind == "custom":
        top, bottom, left, right = op.setting("pad", [0, 0, 0, 0])
        return [left, right, top, bottom]
    total = [max((-(-s // t) - 1) * t + k - s, 0) for s, t, k in zip(size, strides, kernel, strict=True)]
    near = [t - t // 2 if kind == "same_lower" else t // 2 for t in total]
    return [near[1], total[1] - near[1], near[0], total[0] - near[0]]


def _pool(op: _Operation, function: Callable[..., Tensor], fill: float) -> Tensor:
    x, kernel = op.tensor(), op.setting("kernel_sizes")
    strides = op.setting("strides", [1, 1])
    padded = functional.pad(x, _padding(op, kernel, strides, x.shape[2:]), value=fill)
    return function(padded, kernel, strides, ceil_mode=bool(op.setting("ceil_mode", False)))


def _average_pool(op: _Operation) -> Tensor:
    total = _pool(op, functional.avg_pool2d, 0.0)
    if not op.setting("exclude_padding_from_average", False):
        return total
    ones = _Operation(op.output, op.kind, op.names, op.settings, {op.names["x"][0]: torch.ones_like(op.tensor())})
    return total / _pool(ones, functional.avg_pool2d, 0.0)


def _pad(op: _Operation) -> Tensor:
    widths = op.setting("pad")
    pairs = [widths[i : i + 2] for i in range(0, len(widths), 2)]
    flat = [width for pair in reversed(pairs) for width in pair]
    mode = {"constant": "constant", "reflect": "reflect", "replicate": "replicate"}[op.setting("mode", "constant")]
    if mode != "constant":
        return functional.pad(op.tensor(), flat[: 2 * (op.tensor().dim() - 2)], mode=mode)
    return functional.pad(op.tensor(), flat, value=float(op.setting("constant_val", 0.0)))


def _upsampled(op: _Operation) -> Tensor:
    x = op.tensor()
    factors = float(op.setting("scale_factor_height", 1)), float(op.setting("scale_factor_width", 1))
    size = [int(side * factor + 1e-4) for side, factor in zip(x.shape[2:], factors, strict=True)]
    return functional.interpolate(x, size, mode="bilinear", align_corners=bool(op.setting("align_corners", True)))


_ALIGNED = {"STRICT_ALIGN_CORNERS": True, "ALIGN_CORNERS": True, "UNALIGN_CORNERS": False}


def _resized(op: _Operation) -> Tensor:
    mode = op.setting("sampling_mode", "DEFAULT")
    if mode not in _ALIGNED:
        raise VerificationError(f"the MIL evaluator does not resize with sampling mode {mode!r}: check it on macOS")
    size = [int(op.setting("target_size_height")), int(op.setting("target_size_width"))]
    return functional.interpolate(op.tensor(), size, mode="bilinear", align_corners=_ALIGNED[mode])


_CASTS = {"fp16": torch.float32, "fp32": torch.float32, "int32": torch.int32, "bool": torch.bool}


def _cast(op: _Operation) -> Tensor:
    return op.tensor().to(_CASTS[op.setting("dtype")])


def _quantized(op: _Operation) -> Tensor:
    """round(x / scale) + zero point, held to the type's limits."""
    lowest, highest = (-128, 127) if op.setting("output_dtype") == "int8" else (0, 255)
    x = op.tensor("input")
    steps = torch.round(x / _along(op, "scale", x)) + _along(op, "zero_point", x)
    return steps.clamp(lowest, highest)


def _dequantized(op: _Operation) -> Tensor:
    x = op.tensor("input").float()
    return (x - _along(op, "zero_point", x)) * _along(op, "scale", x)


def _along(op: _Operation, name: str, x: Tensor) -> Tensor:
    """A scale or zero point, shaped to meet `x` along the operation's axis; an absent zero point is 0."""
    given = op.optional(name)
    value = torch.zeros(()) if given is None else given.float()
    if value.dim() == 0:
        return value
    shape = [1] * x.dim()
    shape[int(op.setting("axis", 0))] = -1
    return value.reshape(shape)


def _gelu(op: _Operation) -> Tensor:
    return functional.gelu(op.tensor(), approximate="tanh" if "TANH" in op.setting("mode", "EXACT") else "none")


KERNELS: Mapping[str, Kernel] = {
    "add": _elementwise(torch.add),
    "sub": _elementwise(torch.sub),
    "mul": _elementwise(torch.mul),
    "real_div": _elementwise(torch.div),
    "maximum": _elementwise(torch.maximum),
    "minimum": _elementwise(torch.minimum),
    "greater_equal": _elementwise(torch.ge),
    "greater": _elementwise(torch.gt),
    "less": _elementwise(torch.lt),
    "less_equal": _elementwise(torch.le),
    "not_equal": _elementwise(torch.ne),
    "select": lambda op: torch.where(op.tensor("cond").bool(), op.tensor("a"), op.tensor("b")),
    "fill_like": lambda op: torch.full_like(op.tensor("ref_tensor"), op.setting("value")),
    "log": lambda op: (op.tensor() + float(op.setting("epsilon", 1e-45))).log(),
    "slice_by_index": _sliced,
    "conv": _convolution,
    "linear": lambda op: functional.linear(op.tensor(), op.tensor("weight"), op.optional("bias")),
    "relu": lambda op: op.tensor().relu(),
    "relu6": lambda op: op.tensor().clamp(0, 6),
    "clip": lambda op: op.tensor().clamp(float(op.setting("alpha")), float(op.setting("beta"))),
    "thresholded_relu": lambda op: op.tensor() * (op.tensor() >= float(op.setting("alpha"))),
    "sigmoid": lambda op: op.tensor().sigmoid(),
    "sigmoid_hard": lambda op: (op.tensor() * op.setting("alpha") + op.setting("beta")).clamp(0, 1),
    "silu": lambda op: functional.silu(op.tensor()),
    "gelu": _gelu,
    "softmax": lambda op: op.tensor().softmax(int(op.setting("axis", -1))),
    "reduce_mean": _reduced(lambda x, axes, keep: x.mean(axes, keepdim=keep)),
    "reduce_sum": _reduced(lambda x, axes, keep: x.sum(axes, keepdim=keep)),
    "reduce_max": _reduced(lambda x, axes, keep: x.amax(axes, keepdim=keep)),
    "reduce_min": _reduced(lambda x, axes, keep: x.amin(axes, keepdim=keep)),
    "reduce_argmax": lambda op: op.tensor().argmax(op.setting("axis", -1), bool(op.setting("keep_dims", True))),
    "max_pool": lambda op: _pool(op, functional.max_pool2d, float("-inf")),
    "avg_pool": _average_pool,
    "concat": lambda op: torch.cat(op.tensors("values"), int(op.setting("axis"))),
    "pad": _pad,
    "upsample_bilinear": _upsampled,
    "resize_bilinear": _resized,
    "cast": _cast,
    "transpose": lambda op: op.tensor().permute(op.setting("perm")),
    "reshape": lambda op: op.tensor().reshape(op.setting("shape")),
    "expand_dims": lambda op: _expanded(op.tensor(), op.setting("axes")),
    "squeeze": lambda op: op.tensor().squeeze(tuple(op.setting("axes") or range(op.tensor().dim()))),
    "identity": lambda op: op.tensor(),
    "quantize": _quantized,
    "dequantize": _dequantized,
}
"""What our networks and torchvision's are made of, by MIL's names."""


def _expanded(x: Tensor, axes: list[int]) -> Tensor:
    for axis in sorted(axes):
        x = x.unsqueeze(axis)
    return x
