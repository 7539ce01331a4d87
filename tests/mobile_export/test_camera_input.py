"""RGB bytes as a camera gives them, cast and moved inside the graph, and resized there: the same answers as outside."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_network import budgeted_program, cascade_programs, cascade_samples, images

from device_profiler.errors import InputError
from device_profiler.workload import CascadePlan
from mobile_export import executorch_graph, executorch_xnnpack
from mobile_export.artifact import Artifact
from mobile_export.boundary import to_stored
from mobile_export.camera_input import takes_bytes
from mobile_export.frame_images import frame_of, shrunk
from mobile_export.frame_input import TriangleFilter, takes_frames
from mobile_export.frame_size import whole_multiples
from mobile_export.parity import check_parity
from mobile_export.session import HostSession


def test_bytes_in_give_the_answers_of_planes_in(tmp_path: Path) -> None:
    programs, plan = cascade_programs()
    planes = executorch_xnnpack.export(programs, tmp_path / "planes.pte")
    packed = executorch_xnnpack.export((takes_bytes(programs[0]), *programs[1:]), tmp_path / "bytes.pte")
    port = packed.entry("stage_0").inputs[0]
    assert (port.spec.shape, port.spec.dtype, port.layout) == ((1, 64, 64, 3), "uint8", "NHWC")
    with HostSession(Path(planes.path), "executorch") as one, HostSession(Path(packed.path), "executorch") as other:
        for image in images(4, seed=3):
            expected = one.run_cascade(plan, to_stored(planes.entry("stage_0").inputs[0], image[None]))
            found = other.run_cascade(plan, to_stored(port, image[None]))
            assert found.exit == expected.exit
            np.testing.assert_allclose(found.confidences, expected.confidences, atol=1e-6)
            assert np.array_equal(found.labels, expected.labels)


def test_only_the_cast_goes_before_the_delegate(tmp_path: Path) -> None:
    artifact = executorch_xnnpack.export((takes_bytes(budgeted_program()),), tmp_path / "bytes.pte")
    off = [operator.kind for operator in artifact.entries[0].operators if not operator.delegated]
    assert off[0] == executorch_graph.CAST
    assert artifact.entries[0].operators[1].delegated


def test_what_takes_no_image_is_refused() -> None:
    programs, _ = cascade_programs()
    with pytest.raises(InputError, match=r"program 'stage_1' takes no image float32 \[1, 3, H, W\]"):
        takes_bytes(programs[1])
    with pytest.raises(InputError, match=r"program 'stage_1' takes no image float32 \[1, 3, H, W\]"):
        takes_frames(programs[1], (64, 64))


# ---- frames: the resize inside the graph

Framed = tuple[Artifact, tuple[int, int]]
"""An exported cascade, and the size of the frames that it takes."""
MULTIPLES = ((2, 2), (3, 3), (1, 2), (4, 3), (2, 5), (6, 6), (7, 8))


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)


def picture(height: int, width: int) -> np.ndarray:
    """Smooth colours with a sharp disc."""
    small = Image.fromarray(images(1, seed=2)[0].transpose(1, 2, 0).astype(np.uint8))
    return np.asarray(small.resize((width, height), Image.Resampling.LANCZOS))


@pytest.mark.parametrize("multiples", MULTIPLES)
@pytest.mark.parametrize("size", [(24, 24), (31, 17), (9, 40), (2, 3)])
@pytest.mark.parametrize("drawn", [noise, picture])
def test_the_graphs_resize_is_pillows_within_one_level(
    multiples: tuple[int, int], size: tuple[int, int], drawn: Callable[[int, int], np.ndarray]
) -> None:
    frame = drawn(size[0] * multiples[0], size[1] * multiples[1])
    expected = np.asarray(Image.fromarray(frame).resize(size[::-1], Image.Resampling.BILINEAR)).astype(int)
    found = shrunk(frame, size).astype(int)
    assert np.abs(found - expected).max() <= 1
    assert (found != expected).mean() < 0.5  # where Pillow rounds twice


@pytest.mark.parametrize("multiples", MULTIPLES)
def test_its_sums_are_exact(multiples: tuple[int, int]) -> None:
    shrink = TriangleFilter((11, 7), multiples)
    frame = torch.from_numpy(noise(11 * multiples[0], 7 * multiples[1])).permute(2, 0, 1)[None]
    settings = {"stride": shrink.stride, "padding": shrink.padding}
    taps = shrink.taps.long()
    total = torch.nn.functional.conv2d(frame.long(), taps, groups=3, **settings)
    weight = torch.nn.functional.conv2d(torch.ones_like(frame[:, :1]).long(), taps[:1], **settings)
    assert torch.equal(shrink(frame.float()).long(), (2 * total + weight) // (2 * weight))


@pytest.fixture(scope="module", params=[(128, 192), (192, 64), (128, 128)], ids=lambda size: f"{size[1]}x{size[0]}")
def frames(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Framed:
    """The cascade exported with frames of a size: landscape or portrait, one side kept, both alike."""
    programs, _ = cascade_programs()
    file = tmp_path_factory.mktemp("frames") / "frames.pte"
    return executorch_xnnpack.export(
        (takes_bytes(takes_frames(programs[0], request.param)), *programs[1:]), file
    ), request.param


def test_frames_leave_where_eager_pytorch_leaves_with_its_labels(frames: Framed) -> None:
    artifact, size = frames
    programs, plan = cascade_programs()
    eager = (takes_frames(programs[0], size), *programs[1:])
    taken = [frame_of(image.transpose(1, 2, 0).astype(np.uint8), size) for image in images(6, seed=3)] + [noise(*size)]
    batch = np.stack([frame.transpose(2, 0, 1) for frame in taken]).astype(np.float32)
    samples = cascade_samples(eager, batch)
    confidences = [float(outputs[2][0]) for _, outputs in samples["stage_0"]]
    threshold = float(np.sort(confidences)[3:5].mean())  # some leave early, some late
    exits = []
    with HostSession(Path(artifact.path), "executorch") as session:
        for n, frame in enumerate(taken):
            found = session.run_cascade(CascadePlan(plan.stages, (threshold,), plan.finish), frame[None])
            left_early = confidences[n] >= threshold
            assert found.exit == int(not left_early)
            np.testing.assert_allclose(found.confidences, confidences[n : n + 1], atol=1e-5)
            assert np.array_equal(found.labels, samples["finish_0" if left_early else "stage_1"][n][1][0])
            assert found.labels.shape == (1, 64, 64)
            exits.append(found.exit)
    assert set(exits) == {0, 1}
    assert check_parity(artifact, samples).passed


def test_the_resize_is_delegated_whole(frames: Framed) -> None:
    artifact, size = frames
    entry = artifact.entry("stage_0")
    assert entry.inputs[0].spec.shape == (1, *size, 3)
    plain = [operator.kind for operator in entry.operators]
    assert plain[0] == executorch_graph.CAST
    resized = entry.operators[1 : plain.index("floor") + 1]
    assert {operator.kind for operator in resized} >= {"depthwise_convolution", "div", "add", "floor"}
    assert all(operator.delegated for operator in resized)


def test_the_network_is_handed_the_same_bytes_as_without_frames(frames: Framed) -> None:
    artifact, size = frames
    programs, _ = cascade_programs()
    frame = noise(*size)
    small = torch.from_numpy(shrunk(frame, (64, 64))).permute(2, 0, 1)[None].float()
    with HostSession(Path(artifact.path), "executorch") as session, torch.inference_mode():
        found = session.run("stage_0", (frame[None],))
        for ours, theirs in zip(found, programs[0].module(small), strict=True):
            np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-4)


@pytest.mark.parametrize("size", [(128, 128), (192, 64), (64, 320)])
def test_a_made_frame_shrinks_to_the_image_it_was_made_for(size: tuple[int, int]) -> None:
    image = images(1, seed=5)[0].transpose(1, 2, 0).astype(np.uint8)
    frame = frame_of(image, size)
    off = np.abs(shrunk(frame, (64, 64)).astype(int) - image.astype(int))
    enlarged = Image.fromarray(image).resize(size[::-1], Image.Resampling.LANCZOS)
    blurred = np.abs(shrunk(np.asarray(enlarged), (64, 64)).astype(int) - image.astype(int))
    assert frame.shape == (*size, 3) and frame.dtype == np.uint8
    assert off.mean() < blurred.mean() / 2 and off.mean() < 0.5


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        ((480, 640), "--frame 640x480 can't be resized to the network's 256x192 .* as in 512x384 or 768x576; leave"),
        ((192, 256), "--frame 256x192 .* as in 512x384 or 768x576"),
        ((96, 256), "--frame 256x96 .* as in 512x384 or 768x576"),
        ((0, 0), "--frame 0x0 .* as in 512x384"),
        ((192 * 2, 256 * 2 + 1), "--frame 513x384 .* as in 512x384"),
    ],
)
def test_a_frame_that_is_no_whole_multiple_is_refused(frame: tuple[int, int], told: str) -> None:
    with pytest.raises(InputError, match=told):
        whole_multiples(frame, (192, 256))


def test_each_side_may_have_a_multiple_of_its_own() -> None:
    assert whole_multiples((192, 512), (192, 256)) == (1, 2)
    assert whole_multiples((960, 512), (192, 256)) == (5, 2)
