"""Reads a Core ML package on any machine: its functions as MIL programs, their ports and operators."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import coremltools as ct
from coremltools.converters.mil.frontend.milproto.load import load as load_mil
from coremltools.converters.mil.mil import types

from device_profiler.errors import InputError
from device_profiler.workload import Operator

MAIN = "main"
"""Name of the function of a package that has only one."""
PACKAGE, PACKAGES = ".mlpackage", ".mlpackages"
"""Endings of one package with a function an entry, and of a folder with a package an entry."""
_BYTES = {"fp32": 4, "fp16": 2, "int32": 4, "int16": 2, "int8": 1, "uint8": 1, "bool": 1}


def functions_of(path: Path) -> Mapping[str, tuple[Path, str]]:
    """Entry name to (package, function name), for either form of a Core ML artifact.

    Raises:
        InputError: neither a package nor a folder of packages.
    """
    if path.suffix == PACKAGES:
        found = {package.stem: (package, MAIN) for package in sorted(path.glob(f"*{PACKAGE}"))}
        if found:
            return found
    if path.suffix == PACKAGE and (path / "Manifest.json").is_file():
        return {name: (path, name) for name in _function_names(_specification(path))}
    raise InputError(f"{path} is no Core ML artifact: give a {PACKAGE}, or a folder NAME{PACKAGES} of them")


def load_function(package: Path, function: str) -> Any:
    """One function of a package as PyMIL, weights included."""
    model = ct.models.MLModel(str(package), skip_model_load=True)
    specification = model.get_spec()
    program = load_mil(specification, specification.specificationVersion, model.weights_dir)
    return program.functions[function]


def _specification(package: Path) -> Any:
    return ct.models.MLModel(str(package), skip_model_load=True).get_spec()


def _function_names(specification: Any) -> list[str]:
    return sorted(specification.mlProgram.functions)


def type_name(variable: Any) -> str:
    """MIL's name for a variable's elements: "fp16", "fp32", "int32", ..."""
    kind = variable.sym_type
    return str(types.builtin_to_string(kind.get_primitive() if types.is_tensor(kind) else kind))


def is_constant(operation: Any) -> bool:
    """Whether an operation only holds weights, as they are or compressed."""
    return bool(operation.op_type == "const" or operation.op_type.startswith("constexpr"))


def operators(function: Any) -> Iterator[Operator]:
    """The operators of a function in order. Core ML takes the program whole, so every one is `delegated`.

    Which of its units takes which operator is known on the device alone (MLComputePlan).
    """
    for operation in function.operations:
        if not is_constant(operation):
            yield _operator(operation)


def _operator(operation: Any) -> Operator:
    inputs = [variable for variable in variables(operation) if variable.shape]
    weights = [variable for variable in inputs if variable.op is not None and is_constant(variable.op)]
    return Operator(
        kind=operation.op_type,
        macs=_macs(operation),
        bytes_weights=sum(_stored_bytes(variable) for variable in weights),
        bytes_in=sum(_nbytes(variable) for variable in inputs if variable not in weights),
        bytes_out=sum(_nbytes(variable) for variable in operation.outputs),
        delegated=True,
    )


def variables(operation: Any) -> list[Any]:
    """The inputs of an operation, in its order, those of lists one by one."""
    found: list[Any] = []
    for given in operation.inputs.values():
        found.extend(given if isinstance(given, (list, tuple)) else [given])
    return [variable for variable in found if variable is not None]


def _stored_bytes(variable: Any) -> int:
    """Bytes of a weight as it lies in the package: those of its compressed form where it has one."""
    if variable.op.op_type == "const":
        return _nbytes(variable)
    return sum(_nbytes(source) for source in variables(variable.op))


def _nbytes(variable: Any) -> int:
    return math.prod(int(size) for size in variable.shape) * _BYTES.get(type_name(variable), 0)


def _macs(operation: Any) -> int:
    """Multiply-adds: a convolution does one for each weight of its filter, for each output value."""
    output = math.prod(int(size) for size in operation.outputs[0].shape)
    if operation.op_type == "conv":
        return output * math.prod(int(size) for size in operation.inputs["weight"].shape[1:])
    if operation.op_type in ("linear", "matmul"):
        return output * int(operation.inputs["x"].shape[-1])
    return 0
