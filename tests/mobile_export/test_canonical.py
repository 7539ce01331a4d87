"""Each graph rewrite keeps the function, and does away with what it is there for."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_network import cascade_programs, images, make_stages
from torch import Tensor, nn

from device_profiler.errors import InputError, VerificationError
from mobile_export import canonical as rewriting
from mobile_export import executorch_xnnpack
from mobile_export.canonical import REWRITES, canonical
from mobile_export.canonical_litert import LITERT_REWRITES
from mobile_export.executorch_xnnpack import export
from mobile_export.program import Program, TensorSpec
from mobile_export.session import HostSession


class Tupled(nn.Module):
    """A module's output as the tuple that a program gives."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (self.inner(x),)


def program_for(module: nn.Module, shape: tuple[int, ...] = (1, 3, 8, 8)) -> Program:
    wrapped = Tupled(module).eval()
    output = wrapped(torch.zeros(shape))[0]
    spec = TensorSpec("y", tuple(output.shape), str(output.dtype).removeprefix("torch."))
    return Program("odd", wrapped, (TensorSpec("x", shape),), (spec,))


def operators(graph_module: torch.fx.GraphModule) -> list[str]:
    return [str(node.target) for node in graph_module.graph.nodes if node.op == "call_function"]


def settled(*layers: nn.Module) -> nn.Sequential:
    """Layers whose BatchNorm statistics and parameters are none of the defaults."""
    torch.manual_seed(0)
    network = nn.Sequential(*layers)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 2)
            module.running_mean.normal_()
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 2)
                nn.init.normal_(module.bias)
    return network.eval()


NESTED = settled(
    nn.Conv2d(3, 6, 3, bias=False),
    nn.Sequential(nn.BatchNorm2d(6), nn.ReLU(inplace=True)),
    nn.Sequential(nn.Sequential(nn.Conv2d(6, 6, 3, groups=6)), nn.Identity(), nn.BatchNorm2d(6, affine=False)),
)


@pytest.mark.parametrize("rewrites", [REWRITES, LITERT_REWRITES], ids=["xnnpack", "litert"])
def test_the_cascade_computes_the_same(rewrites: tuple[rewriting.Rewrite, ...]) -> None:
    batch = torch.from_numpy(images(1, seed=3))
    program = cascade_programs()[0][0]
    for found, expected in zip(canonical(program, rewrites)(batch), program.module(batch), strict=True):
        assert torch.allclose(found, expected, atol=1e-4)


def test_batch_norm_is_folded_however_modules_are_nested() -> None:
    program = program_for(NESTED)
    graph_module = canonical(program)
    x = torch.randn(1, 3, 8, 8)

    assert not any("batch_norm" in name for name in operators(graph_module))
    assert torch.allclose(graph_module(x)[0], NESTED(x), atol=1e-5)


def test_batch_norm_that_has_no_convolution_of_its_own_stays() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), settled(nn.BatchNorm2d(3))

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            return self.norm(y) + y

    module, x = Shared().eval(), torch.randn(1, 3, 8, 8)
    assert torch.allclose(canonical(program_for(module))(x)[0], module(x), atol=1e-5)


def test_the_callers_module_is_left_as_it_was() -> None:
    module = settled(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))
    program = program_for(module)
    module.train()
    before = {name: tensor.clone() for name, tensor in program.module.state_dict().items()}

    canonical(program)

    after = program.module.state_dict()
    assert module.training
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert {type(layer) for layer in module} == {nn.Conv2d, nn.BatchNorm2d, nn.Dropout}


def test_symmetric_padding_moves_into_the_convolution_and_other_padding_stays() -> None:
    symmetric = settled(nn.ZeroPad2d((2, 2, 1, 1)), nn.Conv2d(3, 4, 3))
    tf_same = settled(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(3, 4, 3, stride=2))
    x = torch.randn(1, 3, 8, 8)
    for module, padded in ((symmetric, False), (tf_same, True)):
        graph_module = canonical(program_for(module))
        assert ("aten.pad.default" in operators(graph_module)) == padded
        assert torch.allclose(graph_module(x)[0], module(x), atol=1e-6)


def without(monkeypatch: pytest.MonkeyPatch, rewrite: rewriting.Rewrite) -> None:
    monkeypatch.setattr(rewriting, "REWRITES", tuple(other for other in REWRITES if other is not rewrite))


def test_hardsigmoid_stays_on_the_delegate_only_when_respelled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = program_for(settled(nn.Conv2d(3, 4, 1), nn.Hardsigmoid(), nn.Conv2d(4, 4, 1)))
    assert export((program,), tmp_path / "cured.pte").entry("odd").delegated_share == 1.0

    without(monkeypatch, rewriting.respell_hardsigmoid)
    with pytest.raises(VerificationError, match="fell off the XNNPACK delegate"):
        export((program,), tmp_path / "broken.pte")


def test_whole_numbers_stay_on_the_delegate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class WholeNumbers(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.relu((x - 127) / 128)

    program = program_for(WholeNumbers())
    assert export((program,), tmp_path / "cured.pte").entry("odd").delegated_share == 1.0

    without(monkeypatch, rewriting.float_scalars)
    with pytest.raises(VerificationError, match="to_dim_order_copy"):
        export((program,), tmp_path / "broken.pte")


class ChannelsLastSoftmax(nn.Module):
    """What XNNPACK lowers to wrong values, in fp32 too, without a word."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = settled(nn.Conv2d(3, 5, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(self.conv(x).permute(0, 2, 3, 1), -1)


def test_softmax_behind_a_permute_is_never_silently_wrong(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    module, x = ChannelsLastSoftmax().eval(), torch.randn(1, 3, 8, 8)
    rewritten = canonical(program_for(module))
    assert torch.allclose(rewritten(x)[0], module(x), atol=1e-6)
    with pytest.raises(VerificationError, match="'permute_copy' fell off"):
        export((program_for(module),), tmp_path / "cured.pte")

    without(monkeypatch, rewriting.softmax_before_permute)
    monkeypatch.setattr(executorch_xnnpack, "keep_beside", lambda exported: None)
    export((program_for(module),), tmp_path / "broken.pte")
    with HostSession(tmp_path / "broken.pte", "executorch") as session:
        (found,) = session.run("odd", (x.numpy(),))
    # When this fails, the runtime is mended: the rewrite can go.
    assert np.abs(found - module(x).detach().numpy()).max() > 0.01


def test_litert_takes_the_normalisation_as_a_convolution_and_channels_last() -> None:
    program = cascade_programs()[0][0]
    found = operators(canonical(program, LITERT_REWRITES))

    assert not {"aten.sub.Tensor", "aten.div.Tensor"} & set(found)
    assert found[0] == "aten.conv2d.default"
    softmax = found.index("aten.softmax.int")
    assert found[softmax - 1 : softmax + 2] == ["aten.permute.default", "aten.softmax.int", "aten.amax.default"]


def test_per_channel_normalisation_becomes_one_convolution() -> None:
    class Normalised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).reshape(3, 1, 1))
            self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).reshape(3, 1, 1))
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv((x / 255 - self.mean) / self.std)

    module, x = Normalised().eval(), torch.rand(1, 3, 8, 8) * 255
    graph_module = canonical(program_for(module), LITERT_REWRITES)
    assert operators(graph_module) == ["aten.conv2d.default"] * 2
    assert torch.allclose(graph_module(x)[0], module(x), atol=1e-4)


def test_what_is_no_affine_step_is_left_alone() -> None:
    class Squared(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x - 1) * x

    module, x = Squared().eval(), torch.randn(1, 3, 8, 8)
    assert torch.allclose(canonical(program_for(module), LITERT_REWRITES)(x)[0], module(x))


def test_an_untraceable_module_is_named() -> None:
    class Looping(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            while float(x.sum()) > 0:
                x = x - 1
            return x

    program = Program("loop", Tupled(Looping()), (TensorSpec("x", (1, 3)),), (TensorSpec("y", (1, 3)),))
    with pytest.raises(InputError, match="'loop' can't be exported"):
        canonical(program)


def test_the_tiny_network_has_a_dead_channel() -> None:
    folded = canonical(cascade_programs()[0][0])
    largest = [
        tensor.abs().amax((1, 2, 3)) for name, tensor in folded.named_buffers() if name.endswith("folded_weight")
    ]
    assert min(float(channel.min()) for channel in largest) < 1e-6
    assert make_stages()[0].block.project[1].bias[1] == 1.0
