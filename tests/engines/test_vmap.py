"""The vmap engine against a loop written here, in float64, for every sort of layer that a small network has."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from zotoolkit.engines import LoopEngine, ParameterLayout, VmapEngine
from zotoolkit.engines.rewrites import cross_entropy, linear
from zotoolkit.errors import InvalidSetting


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x).tanh()


def _tied() -> nn.Module:
    module = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6), nn.Linear(6, 4))
    module[2].weight = module[0].weight
    return module


def _frozen() -> nn.Module:
    module = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4))
    module[0].weight.requires_grad_(False)
    return module


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": (lambda: nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4)), (6,)),
    "no bias": (lambda: nn.Sequential(nn.Linear(6, 5, bias=False), nn.Tanh(), nn.Linear(5, 4)), (6,)),
    "residual": (lambda: nn.Sequential(Residual(), nn.LayerNorm(6), nn.Linear(6, 4)), (6,)),
    "tied": (_tied, (6,)),
    "frozen": (_frozen, (6,)),
    "cnn": (
        lambda: nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 4)),
        (1, 6, 6),
    ),
    "batch norm": (
        lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 4)),
        (2, 4, 4),
    ),
    "batch norm, eval": (lambda: nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 4)).eval(), (6,)),
    "group norm": (lambda: nn.Sequential(nn.Linear(6, 4), nn.GroupNorm(2, 4), nn.Linear(4, 4)), (6,)),
    "dropout, eval": (lambda: nn.Sequential(nn.Linear(6, 5), nn.Dropout(0.5), nn.Linear(5, 4)).eval(), (6,)),
}
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross entropy": functional.cross_entropy,
    "module": nn.CrossEntropyLoss(),
    "smoothed": nn.CrossEntropyLoss(label_smoothing=0.1),
    "summed": nn.CrossEntropyLoss(reduction="sum"),
    "squares": lambda output, target: (output[:, 0] - target).square().mean(),
}


def reference(
    module: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], x: Tensor, data: Tensor, y: Tensor
) -> Tensor:
    layout = ParameterLayout.of(module)
    with torch.no_grad():
        return torch.stack([loss(functional_call(module, layout.unflatten(row), (data,)), y) for row in x])


def problem(name: str, seed: int = 0) -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    make, shape = NETWORKS[name]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = make().double()
        for part in module.modules():
            if isinstance(part, nn.BatchNorm1d) and part.running_var is not None:
                part.running_var.uniform_(0.5, 2.0)
        x = torch.randn(9, ParameterLayout.of(module).dim, dtype=torch.float64)
        return module, x, torch.randn(8, *shape, dtype=torch.float64), torch.randint(0, 4, (8,))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("rewrites", [False, True])
def test_equals_a_loop_in_float64(name: str, loss: str, rewrites: bool) -> None:
    module, x, data, y = problem(name)
    expected = reference(module, LOSSES[loss], x, data, y)
    engine = VmapEngine(module, LOSSES[loss], rewrites=rewrites)
    torch.testing.assert_close(engine.dense(x, data, y), expected, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(LoopEngine(module, LOSSES[loss]).dense(x, data, y), expected, rtol=1e-12, atol=1e-12)


@given(name=st.sampled_from(sorted(NETWORKS)), chunk=st.integers(1, 12), count=st.integers(0, 9))
@settings(deadline=None, max_examples=40)
def test_chunks_change_nothing_but_rounding(name: str, chunk: int, count: int) -> None:
    module, x, data, y = problem(name)
    whole = VmapEngine(module, functional.cross_entropy).dense(x, data, y)[:count]
    parts = VmapEngine(module, functional.cross_entropy, chunk=chunk).dense(x[:count], data, y)
    torch.testing.assert_close(parts, whole, rtol=1e-12, atol=1e-12)


def test_the_module_and_its_buffers_stay_as_they_are() -> None:
    module, x, data, y = problem("batch norm")
    before = {name: value.clone() for name, value in module.state_dict().items()}
    engine = VmapEngine(module, functional.cross_entropy)
    kept = {name: value.clone() for name, value in engine.module.state_dict().items()}
    engine.dense(x, data, y)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(torch.equal(value, kept[name]) for name, value in engine.module.state_dict().items())


def test_dropout_is_refused_or_shared() -> None:
    module = nn.Sequential(nn.Linear(6, 50), nn.Dropout(0.5), nn.Linear(50, 4)).double()
    x = torch.randn(1, ParameterLayout.of(module).dim, dtype=torch.float64).repeat(6, 1)
    data, y = torch.randn(8, 6, dtype=torch.float64), torch.zeros(8, dtype=torch.int64)
    with pytest.raises(InvalidSetting, match=r"random numbers in its forward pass.*randomness='same'"):
        VmapEngine(module, functional.cross_entropy).dense(x, data, y)
    state = torch.get_rng_state()
    engine = VmapEngine(module, functional.cross_entropy, randomness="same")
    first = engine.dense(x, data, y, seed=1)
    torch.testing.assert_close(first, first[:1].expand(6))
    chunked = VmapEngine(module, functional.cross_entropy, randomness="same", chunk=2).dense(x, data, y, seed=1)
    torch.testing.assert_close(chunked, first)
    torch.testing.assert_close(LoopEngine(module, functional.cross_entropy).dense(x, data, y, seed=1), first)
    assert not torch.allclose(engine.dense(x, data, y, seed=2), first)
    assert torch.equal(torch.get_rng_state(), state)


def test_what_vmap_cannot_batch_is_said_and_the_loop_runs_it() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            out = self.layer(x)
            return out if float(out.sum()) > 0 else -out

    x, data, y = torch.randn(3, 6), torch.randn(4, 2), torch.zeros(4, dtype=torch.int64)
    with pytest.raises(InvalidSetting, match=r"vmap cannot batch Branching: .* LoopEngine runs any module"):
        VmapEngine(Branching(), functional.cross_entropy).dense(x, data, y)
    assert LoopEngine(Branching(), functional.cross_entropy).dense(x, data, y).shape == (3,)


@pytest.mark.parametrize("engine", [VmapEngine, LoopEngine])
def test_bad_losses_and_settings_are_said(engine: type[VmapEngine] | type[LoopEngine]) -> None:
    module, x, data, y = problem("mlp")
    per_sample = engine(module, nn.CrossEntropyLoss(reduction="none"))
    with pytest.raises(
        InvalidSetting, match="must return one floating-point number a candidate, got a tensor of shape"
    ):
        per_sample.dense(x, data, y)
    with pytest.raises(InvalidSetting, match="loss must be called as"):
        engine(module, "cross_entropy")  # pyright: ignore[reportArgumentType]


def test_bad_vmap_settings_are_said() -> None:
    with pytest.raises(InvalidSetting, match="randomness must be one of"):
        VmapEngine(nn.Linear(2, 2), functional.cross_entropy, randomness="different")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidSetting, match="chunk must be"):
        VmapEngine(nn.Linear(2, 2), functional.cross_entropy, chunk=0)


def test_several_inputs() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 4), nn.Linear(2, 4)

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return self.first(a) * self.second(b)

    engines = (VmapEngine(Two(), functional.cross_entropy), LoopEngine(Two(), functional.cross_entropy))
    x, inputs = torch.randn(3, engines[0].layout.dim), (torch.randn(5, 3), torch.randn(5, 2))
    first, second = (engine.dense(x, inputs, torch.zeros(5, dtype=torch.int64)) for engine in engines)
    torch.testing.assert_close(first, second)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_rewritten_cross_entropy(reduction: str) -> None:
    scores = 30 * torch.randn(7, 5, dtype=torch.float64)
    scores[0] = torch.tensor([-torch.inf, 0.0, 1.0, 2.0, 800.0])
    target = torch.tensor([4, 0, -100, 2, 3, 1, 0])
    expected = functional.cross_entropy(scores, target, reduction=reduction)
    torch.testing.assert_close(cross_entropy(scores, target, reduction=reduction), expected)
    target[target == -100] = 9
    with pytest.raises((RuntimeError, IndexError)):
        cross_entropy(scores, target)
    ignored = torch.full((7,), -100)
    assert torch.equal(
        cross_entropy(scores, ignored, reduction=reduction).isnan(),
        functional.cross_entropy(scores, ignored, reduction=reduction).isnan(),
    )
    probabilities = torch.softmax(torch.randn(7, 5, dtype=torch.float64), 1)
    torch.testing.assert_close(
        cross_entropy(scores[1:], probabilities[1:]), functional.cross_entropy(scores[1:], probabilities[1:])
    )


def test_rewritten_linear() -> None:
    x, weight, bias = (torch.randn(*shape, dtype=torch.float64) for shape in ((7, 3), (5, 3), (5,)))
    torch.testing.assert_close(linear(x, weight, bias), functional.linear(x, weight, bias))
    torch.testing.assert_close(linear(x, weight), functional.linear(x, weight))
    torch.testing.assert_close(linear(x[None], weight, bias), functional.linear(x[None], weight, bias))
