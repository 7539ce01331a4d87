"""fp16 without a GPU: what Accelerate hands over, with torch's gradient scaler for CPUs in its place."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
import torch
from killed_training import SCHEDULE, tiny_source
from one_convolution import OneConvolution
from safetensors import safe_open
from tiny_trainings import InterruptedProgress
from torch import Tensor
from torch.optim import Optimizer

from pipeline.progress import Progress, SilentProgress
from pipeline.training import StageSchedule
from pipeline.training.augmentation import Augmentation
from pipeline.training.batches import BatchStream
from pipeline.training.engine import Accelerated, Engine, OneProcess
from pipeline.training.log import NoLog
from pipeline.training.loop import StageRun

GROWS_AFTER = 3


class ScaledOptimizer:
    """As Accelerate's: steps by the scaler, which leaves out a step whose gradients overflowed."""

    def __init__(self, plain: Optimizer, scaler: torch.amp.GradScaler) -> None:
        self.plain, self.scaler = plain, scaler
        self.param_groups, self.zero_grad = plain.param_groups, plain.zero_grad

    def step(self) -> None:
        self.scaler.step(self.plain)
        self.scaler.update()


class Half(Accelerated):
    """One of two processes; the other one's gradients are this one's plus `more`."""

    def __init__(self, more: float = 0.0) -> None:
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=GROWS_AFTER)
        self.device, self.rank, self.processes = torch.device("cpu"), 0, 2
        self._accelerator = SimpleNamespace(
            scaler=scaler,
            autocast=nullcontext,
            wait_for_everyone=lambda: None,
            backward=lambda loss: scaler.scale(loss).backward(),
            prepare_optimizer=lambda plain: ScaledOptimizer(plain, scaler),
            unscale_gradients=lambda optimizer: scaler.unscale_(optimizer.plain),
            reduce=lambda tensor, reduction: tensor + more / 2,
        )


def run(engine: Engine, folder: Path, progress: Progress) -> dict[str, Tensor]:
    """Four steps of one convolution; the state is kept after every second."""
    source = tiny_source()
    stage = OneConvolution(2, source.size)
    stage.schedule = StageSchedule(steps=4, batch=2, head_rate=1e-3)
    schedule = msgspec.structs.replace(SCHEDULE, save_every=2)
    stream = BatchStream(source.train, Augmentation((1.0, 1.0), 0.0, source.classes.ignore), 2, (0, 1))
    StageRun(stage, stream, schedule, engine, folder / "state", "key", NoLog()).run(progress)
    return stage.convolution.state_dict()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_the_scale_of_gradients_is_resumed(tmp_path: Path) -> None:
    whole, broken, resumed, done = (Half() for _ in range(4))
    expected = run(whole, tmp_path / "whole", SilentProgress())
    assert (whole.scaling()["scale"], whole.scaling()["_growth_tracker"]) == (2048.0, 4 - GROWS_AFTER)
    with pytest.raises(KeyboardInterrupt):
        run(broken, tmp_path / "broken", InterruptedProgress(3))
    torch.testing.assert_close(run(resumed, tmp_path / "broken", SilentProgress()), expected, rtol=0, atol=0)
    run(done, tmp_path / "broken", SilentProgress())  # nothing to do: the next stage's scale is this one's last
    assert whole.scaling() == resumed.scaling() == done.scaling()


def test_states_without_a_scale_stay_as_they_were_and_can_be_resumed_in_fp16(tmp_path: Path) -> None:
    run(OneProcess(), tmp_path, SilentProgress())
    with safe_open(tmp_path / "state", framework="pt") as stored:
        assert {name.split(".")[0] for name in stored.keys()} == {"model", "optimizer"}  # noqa: SIM118 -- not a dict
    engine = Half()
    before = engine.scaling()
    run(engine, tmp_path, SilentProgress())
    assert engine.scaling() == before


def test_an_overflow_in_another_process_leaves_out_the_step_here_too(tmp_path: Path) -> None:
    engine, stage = Half(more=float("inf")), OneConvolution(2, tiny_source().size)
    parameters = list(stage.convolution.parameters())
    optimizer = engine.optimizer(torch.optim.AdamW(parameters, fused=True))
    before = [parameter.clone() for parameter in parameters]
    engine.backward(stage.convolution(torch.ones(1, 3, 8, 8)).square().mean())
    engine.finish_gradients(parameters, optimizer)
    torch.nn.utils.clip_grad_norm_(parameters, 5.0)
    optimizer.step()
    torch.testing.assert_close(parameters, before, rtol=0, atol=0)
    assert engine.scaling()["scale"] == 512.0
