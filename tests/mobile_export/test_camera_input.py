"""RGB bytes as a camera gives them, cast and moved inside the graph: the same answers as float32 planes."""

from pathlib import Path

import numpy as np
import pytest
from tiny_network import budgeted_program, cascade_programs, images

from device_profiler.errors import InputError
from mobile_export import executorch_graph, executorch_xnnpack
from mobile_export.boundary import to_stored
from mobile_export.camera_input import takes_bytes
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
