"""Makes the small deployments that the runner's tests use; run as a process of its own: `make_models.py FOLDER`.

A cascade of two stages, the first with a finish, on 3x32x32 images, as exporters write it: `cascade.pte` (XNNPACK,
fp32), `portable.pte` (the same without a delegate), `cascade.tflite` (fp32) and `cascade_int8.tflite`; images and
answers in `eager.npz` (PyTorch) and `int8.npz` (LiteRT).
"""

import sys
from pathlib import Path

import flatbuffers
import litert_torch
import numpy as np
import torch
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import quantizer, recipe
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower
from torch import nn
from torch.nn import functional

IMAGES = 6
CLASSES = 4


class FirstStage(nn.Module):
    """image [1,3,32,32] -> features [1,16,16,16], logits [1,4,16,16], confidence [1]."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.ReLU6(), nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.ReLU6()
        )
        self.head = nn.Conv2d(16, CLASSES, 1)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        features = self.body(image * (1 / 255))
        logits = self.head(features)
        return features, logits, torch.softmax(logits, 1).amax(1).mean((1, 2))


class Finish(nn.Module):
    """logits -> labels int32 [1,32,32]."""

    def forward(self, logits: torch.Tensor) -> tuple[torch.Tensor]:
        full = functional.interpolate(logits, size=(32, 32), mode="bilinear", align_corners=False)
        return (full.argmax(1).to(torch.int32),)


class LastStage(nn.Module):
    """features -> labels int32 [1,32,32], by way of logits [1,4,8,8]."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(16, 24, 3, stride=2, padding=1), nn.ReLU6(), nn.Conv2d(24, CLASSES, 1))
        self.finish = Finish()

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor]:
        return self.finish(self.body(features))


def programs() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    first, last = FirstStage(), LastStage()
    with torch.no_grad():
        first.head.weight.mul_(40)
    return {"stage_0": first.eval(), "stage_1": last.eval(), "finish_0": Finish()}


def make_images() -> np.ndarray:
    """Images of growing contrast, so that their confidences spread."""
    generator = np.random.default_rng(1)
    noise = generator.uniform(-1, 1, (IMAGES, 1, 3, 32, 32))
    return (127 + 127 * noise * np.linspace(0.05, 1, IMAGES)[:, None, None, None, None]).round().astype(np.float32)


def eager(modules: dict[str, nn.Module], images: np.ndarray) -> dict[str, list[np.ndarray]]:
    """Outputs of every entry for every image, in order."""
    answers: dict[str, list[np.ndarray]] = {}

    def run(name: str, value: torch.Tensor) -> list[torch.Tensor]:
        outputs = list(modules[name](value))
        for index, output in enumerate(outputs):
            answers.setdefault(f"{name}.{index}", []).append(output.numpy())
        return outputs

    with torch.no_grad():
        for image in images:
            features, logits, _ = run("stage_0", torch.from_numpy(image))
            run("finish_0", logits)
            run("stage_1", features)
    return answers


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    modules, images = programs(), make_images()
    answers = eager(modules, images)
    examples = {
        "stage_0": torch.from_numpy(images[0]),
        "stage_1": torch.from_numpy(answers["stage_0.0"][0]),
        "finish_0": torch.from_numpy(answers["stage_0.1"][0]),
    }
    np.savez(folder / "eager.npz", images=images, **{name: np.stack(values) for name, values in answers.items()})
    write_executorch(modules, examples, folder / "cascade.pte", [XnnpackPartitioner()])
    write_executorch(modules, examples, folder / "portable.pte", [])
    write_litert(modules, examples, folder / "cascade.tflite")
    write_int8(folder, images)


def write_executorch(
    modules: dict[str, nn.Module], examples: dict[str, torch.Tensor], path: Path, delegates: list[XnnpackPartitioner]
) -> None:
    exported = {name: torch.export.export(module, (examples[name],), strict=False) for name, module in modules.items()}
    partitioner = dict.fromkeys(modules, delegates)
    path.write_bytes(to_edge_transform_and_lower(exported, partitioner=partitioner).to_executorch().buffer)


def write_litert(modules: dict[str, nn.Module], examples: dict[str, torch.Tensor], path: Path) -> None:
    converter = litert_torch
    for name, module in modules.items():
        converter = converter.signature(name, module, (examples[name],))
    converter.convert().export(str(path))


def write_int8(folder: Path, images: np.ndarray) -> None:
    """Chained calibration: a stage sees what the one before hands on, so a boundary has one scale on both sides."""
    real = interpret(folder / "cascade.tflite", images)
    inputs = {
        "stage_0": real["images"],
        "stage_1": real["stage_0.0"],
        "finish_0": real["stage_0.1"],
    }
    maker = quantizer.Quantizer(str(folder / "cascade.tflite"), recipe.static_wi8_ai8())
    data = {name: [{"args_0": value} for value in values] for name, values in inputs.items()}
    path = folder / "cascade_int8.tflite"
    maker.quantize(maker.calibrate(data)).export_model(str(path))
    mend_outputs(path)
    np.savez(folder / "int8.npz", **interpret(path, images))


def mend_outputs(path: Path) -> None:
    """Graph outputs as the signatures name them: where an output is read again the quantiser leaves a float twin."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
    for signature in model.signatureDefs:
        graph = model.subgraphs[signature.subgraphIndex]
        named = {output.tensorIndex for output in signature.outputs}
        twins = {op.outputs[0]: op.inputs[0] for op in graph.operators if op.inputs[0] in named}
        graph.outputs = [index if index in named else twins[index] for index in graph.outputs]
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))


def interpret(path: Path, images: np.ndarray) -> dict[str, np.ndarray]:
    """The host interpreter's own answers, stage by stage, all values as stored."""
    interpreter = Interpreter(str(path), num_threads=1)
    runners = {name: interpreter.get_signature_runner(name) for name in interpreter.get_signature_list()}
    details = runners["stage_0"].get_input_details()["args_0"]
    scale, zero_point = details["quantization"]
    results: dict[str, list[np.ndarray]] = {}

    def run(name: str, value: np.ndarray) -> list[np.ndarray]:
        outputs = [array.copy() for _, array in sorted(runners[name](args_0=value).items())]
        for index, output in enumerate(outputs):
            results.setdefault(f"{name}.{index}", []).append(output)
        return outputs

    for image in images:
        stored = np.clip(np.round(image / scale) + zero_point, -128, 127).astype(np.int8) if scale else image
        results.setdefault("images", []).append(stored)
        features, logits, _ = run("stage_0", stored)
        run("finish_0", logits)
        run("stage_1", features)
    confidence = runners["stage_0"].get_output_details()["output_2"]["quantization"]
    return {name: np.stack(values) for name, values in results.items()} | {
        "confidence_quantization": np.array(confidence)
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
