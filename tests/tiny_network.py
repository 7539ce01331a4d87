"""A segmentation network of a few thousand weights, cut into deployment programs, and images to feed it.

It has what real networks have and exports trip over: BatchNorm, TF-same padding, depthwise convolutions, ReLU6, a
gate with Hardsigmoid, residuals, channels that died in training, a confidence in the graph.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from device_profiler.workload import CascadePlan
from mobile_export.program import Program, TensorSpec

SIZE = 64
CLASSES = 5
STAGE_CHANNELS = (8, 16)
Images = npt.NDArray[np.float32]
Samples = dict[str, list[tuple[tuple[Images, ...], tuple[Images, ...]]]]


def conv_norm(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution and BatchNorm."""
    padding = kernel // 2 if stride == 1 else 0
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))


class Block(nn.Module):
    """TF-same strided depthwise convolution, a gate, a residual branch."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.depthwise = conv_norm(inputs, inputs, 3, stride=2, groups=inputs)
        self.project = conv_norm(inputs, outputs, 1)
        self.gate = nn.Conv2d(outputs, outputs, 1)
        self.squash = nn.Hardsigmoid()
        self.residual = conv_norm(outputs, outputs, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu6(self.depthwise(functional.pad(x, (0, 1, 0, 1))))
        x = self.project(x)
        x = x * self.squash(self.gate(functional.adaptive_avg_pool2d(x, 1)))
        return x + functional.relu6(self.residual(x))


class Head(nn.Module):
    """Features to logits."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(conv_norm(channels, 8, 3), nn.ReLU(), nn.Dropout(0.1), nn.Conv2d(8, CLASSES, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Finish(nn.Module):
    """Logits to labels at input size."""

    def forward(self, logits: Tensor) -> tuple[Tensor]:
        enlarged = functional.interpolate(logits, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
        return (enlarged.argmax(1).to(torch.int32),)


class Stage(nn.Module):
    """Features of the stage before (or the image) to (features, logits, confidence); the last one to (labels,)."""

    def __init__(self, inputs: int, outputs: int, *, first: bool = False, last: bool = False) -> None:
        super().__init__()
        self.block, self.head = Block(inputs, outputs), Head(outputs)
        self.first, self.last = first, last

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        features = self.block((x - 127.0) / 128.0 if self.first else x)
        logits = self.head(features)
        if self.last:
            return Finish()(logits)
        return features, logits, torch.softmax(logits, 1).amax(1).mean((1, 2))


class Whole(nn.Module):
    """Image to labels: a budgeted deployment."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.stage, self.finish = stage, Finish()

    def forward(self, image: Tensor) -> tuple[Tensor]:
        return self.finish(self.stage(image)[1])


def images(count: int, seed: int = 0) -> Images:
    """Smooth random images with a sharp disc, float32 [count, 3, SIZE, SIZE] in 0..255, whole numbers."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 6, 6, generator=generator)
    smooth = functional.interpolate(coarse, size=(SIZE, SIZE), mode="bicubic", align_corners=False)
    grid = torch.arange(SIZE).float()
    centre = torch.rand(count, 2, 1, 1, generator=generator) * SIZE
    inside = ((grid[None, :, None] - centre[:, 0]) ** 2 + (grid[None, None] - centre[:, 1]) ** 2) < 200
    smooth = torch.where(inside[:, None], 1 - smooth, smooth)
    return (smooth.clamp(0, 1) * 255).round().numpy()


def make_stages(seed: int = 0) -> tuple[Stage, Stage]:
    """Two stages whose BatchNorm statistics and logits fit `images`; some channels are dead."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        first = Stage(3, STAGE_CHANNELS[0], first=True)
        last = Stage(*STAGE_CHANNELS, last=True)
        batch = torch.from_numpy(images(32, seed=100))
        for norm in (module for stage in (first, last) for module in stage.modules()):
            if isinstance(norm, nn.BatchNorm2d):
                norm.momentum = None
                nn.init.uniform_(norm.weight, 0.5, 1.5)
                nn.init.normal_(norm.bias, std=0.5)
        last.train()(first.train()(batch)[0])
        for stage in (first, last):
            stage.head.layers[3].weight *= 6
        norm = first.block.project[1]
        norm.weight[1], norm.bias[1] = 1e-9, 1.0
    return first.eval(), last.eval()


def cascade_programs(seed: int = 0) -> tuple[tuple[Program, ...], CascadePlan]:
    """stage_0, stage_1, finish_0 and the plan that drives them."""
    first, last = make_stages(seed)
    half = SIZE // 2
    features = TensorSpec("features", (1, STAGE_CHANNELS[0], half, half))
    logits = TensorSpec("logits", (1, CLASSES, half, half))
    labels = TensorSpec("labels", (1, SIZE, SIZE), "int32")
    image, confidence = TensorSpec("image", (1, 3, SIZE, SIZE)), TensorSpec("confidence", (1,))
    programs = (
        Program("stage_0", first, (image,), (features, logits, confidence)),
        Program("stage_1", last, (features,), (labels,)),
        Program("finish_0", Finish().eval(), (logits,), (labels,)),
    )
    return programs, CascadePlan(("stage_0", "stage_1"), (0.5,), ("finish_0",))


def budgeted_program(seed: int = 0) -> Program:
    """`segment`: image to labels."""
    image, labels = TensorSpec("image", (1, 3, SIZE, SIZE)), TensorSpec("labels", (1, SIZE, SIZE), "int32")
    return Program("segment", Whole(make_stages(seed)[0]).eval(), (image,), (labels,))


@torch.no_grad()
def cascade_samples(programs: tuple[Program, ...], batch: Images) -> Samples:
    """Per entry, real inputs and eager outputs, every stage run on every image."""
    modules = {program.name: program.module for program in programs}
    samples: Samples = {name: [] for name in modules}

    def run(name: str, value: Tensor) -> tuple[Tensor, ...]:
        outputs = modules[name](value)
        samples[name].append(((value.numpy(),), tuple(output.numpy() for output in outputs)))
        return outputs

    for image in batch:
        features, logits, _ = run("stage_0", torch.from_numpy(image[None]))
        run("finish_0", logits)
        run("stage_1", features)
    return samples


def inputs_of(samples: Samples) -> dict[str, list[tuple[Images, ...]]]:
    """The inputs alone: what calibrates."""
    return {name: [inputs for inputs, _ in pairs] for name, pairs in samples.items()}
