"""The replay engine against the dense path, on networks that use all its rules."""

from __future__ import annotations

import copy
import logging
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from tests.engines.networks import CASES, Case, Residual
from zotoolkit import CoordinateBatch
from zotoolkit.engines import LoopEngine, ReplayEngine
from zotoolkit.engines import base as base_module
from zotoolkit.engines import recording as recording_module
from zotoolkit.errors import InvalidSetting


def _made(case: Case, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, Tensor, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module, inputs, target = case.build().to(dtype), case.inputs(), case.target()
    cast = lambda value: value.to(dtype) if value.is_floating_point() else value  # noqa: E731
    return module, cast(inputs), cast(target)


def _every_coordinate(engine: Any, module: nn.Module, mu: float, most: int = 600) -> CoordinateBatch:
    """Up to `most` coordinates of all parameters, in no order, twice over with different steps, and the base point."""
    generator = torch.Generator().manual_seed(1)
    base = engine.layout.flatten(module)
    index = torch.randperm(engine.layout.dim, generator=generator)[:most]
    index = torch.cat((index[:1], index, index.flip(0)[:5]))
    scale = mu * (1 + torch.rand(len(index), generator=generator)).to(base)
    scale[::3] *= -1
    scale[0] = 0
    return CoordinateBatch(base=base, scale=scale, index=index)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("chunk_bytes", [None, 1])
def test_replay_equals_the_dense_path_in_float64(name: str, chunk_bytes: int | None) -> None:
    case = CASES[name]
    module, inputs, target = _made(case)
    engine = ReplayEngine(module, case.loss, chunk_bytes=chunk_bytes)
    batch = _every_coordinate(engine, module, 1e-2, most=600 if chunk_bytes is None else 60)
    values = engine.coordinates(batch, inputs, target)
    dense = LoopEngine(module, case.loss).dense(batch.points(), inputs, target)
    assert engine.traced
    assert values is not None
    assert values.dtype == torch.float64
    torch.testing.assert_close(values, dense, rtol=1e-11, atol=1e-11)
    assert float((dense - dense[0]).abs().max()) > 1e-4  # the steps are large enough to tell


@pytest.mark.parametrize("name", CASES)
def test_tiny_steps_in_float32_still_tell_the_slope(name: str) -> None:
    """Where values in float32 have lost every digit of a difference, the propagated one has not."""
    case = CASES[name]
    module, inputs, target = _made(case, torch.float32)
    engine = ReplayEngine(module, case.loss)
    batch = _every_coordinate(engine, module, 1e-6)
    values = engine.coordinates(batch, inputs, target)
    assert values is not None
    twin, wide, goal = copy.deepcopy(module).double(), *_wide(inputs, target)
    slope = (values - values[0])[1:] / batch.scale[1:].double()
    exact = _gradient(twin, case.loss, wide, goal)[batch.index[1:]]
    error = torch.linalg.vector_norm(slope - exact) / torch.linalg.vector_norm(exact)
    assert float(error) < 2e-3


def test_bfloat16_keeps_the_gradient_within_three_percent() -> None:
    case = CASES["residual"]
    module, inputs, target = _made(case, torch.float32)
    engine = ReplayEngine(module, case.loss, arithmetic="bfloat16")
    batch = _every_coordinate(engine, module, 1e-4, most=5000)
    values = engine.coordinates(batch, inputs, target)
    assert values is not None
    slope = (values - values[0])[1:] / batch.scale[1:].double()
    exact = _gradient(copy.deepcopy(module).double(), case.loss, *_wide(inputs, target))[batch.index[1:]]
    assert float(torch.linalg.vector_norm(slope - exact) / torch.linalg.vector_norm(exact)) < 0.03


def test_fused_passes_answer_like_plain_ones() -> None:
    case = CASES["residual"]
    module, inputs, target = _made(case, torch.float32)
    plain, fused = (ReplayEngine(module, case.loss, fused=fused) for fused in (False, True))
    batch = _every_coordinate(plain, module, 1e-3, most=60)
    one, two = plain.coordinates(batch, inputs, target), fused.coordinates(batch, inputs, target)
    assert one is not None
    assert two is not None
    torch.testing.assert_close(one - one[0], two - two[0], rtol=1e-4, atol=1e-9)


def test_values_follow_the_point_and_the_minibatch() -> None:
    case = CASES["residual"]
    module, inputs, target = _made(case)
    engine = ReplayEngine(module, case.loss)
    loop = LoopEngine(module, case.loss)
    batch = _every_coordinate(engine, module, 1e-2, most=20)
    elsewhere = CoordinateBatch(base=batch.base * 1.1, scale=batch.scale, index=batch.index)
    for asked, given, goal in (
        (batch, inputs, target),
        (elsewhere, inputs, target),
        (elsewhere, inputs + 1, target),
        (elsewhere, inputs + 1, target.flip(0)),
    ):
        values = engine.coordinates(asked, given, goal)
        torch.testing.assert_close(values, loop.dense(asked.points(), given, goal), rtol=1e-11, atol=1e-11)


def test_splitting_a_batch_changes_no_value_beyond_rounding() -> None:
    case = CASES["transformer"]
    module, inputs, target = _made(case)
    engine = ReplayEngine(module, case.loss)
    batch = _every_coordinate(engine, module, 1e-2, most=50)
    whole = engine.coordinates(batch, inputs, target)
    parts = [engine.coordinates(part, inputs, target) for part in batch.split(7)]
    torch.testing.assert_close(whole, torch.cat([part for part in parts if part is not None]), rtol=0, atol=1e-13)


def test_memory_that_runs_out_halves_the_chunk_and_the_rest_carries_on(monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES["residual"]
    module, inputs, target = _made(case)
    engine = ReplayEngine(module, case.loss)
    batch = _every_coordinate(engine, module, 1e-2, most=200)
    sizes: list[int] = []
    replay = recording_module.Recording._replay

    def narrow(self: Any, path: Any, owners: Any, index: Tensor, scale: Tensor, reading: Any) -> Any:
        sizes.append(len(index))
        if len(index) > 4:
            raise torch.OutOfMemoryError("out of memory")
        return replay(self, path, owners, index, scale, reading)

    monkeypatch.setattr(recording_module.Recording, "_replay", narrow)
    values = engine.coordinates(batch, inputs, target)
    dense = LoopEngine(module, case.loss).dense(batch.points(), inputs, target)
    torch.testing.assert_close(values, dense, rtol=1e-11, atol=1e-11)
    assert max(sizes) > 4


def test_a_query_costs_less_the_deeper_its_layer() -> None:
    case = CASES["residual"]
    module, inputs, target = _made(case)
    engine = ReplayEngine(module, case.loss)
    batch = _every_coordinate(engine, module, 1e-2, most=20)
    assert engine.costs(batch) == {"forward_equivalents": float(len(batch))}  # nothing is known yet
    engine.coordinates(batch, inputs, target)
    costs = dict(zip((slot.name for slot in engine.layout.slots), engine.slot_costs(), strict=True))
    assert 0 < costs["blocks.2.conv1.weight"] < costs["blocks.1.conv1.weight"] < costs["stem.0.weight"] < 1
    assert costs["head.weight"] < 0.01
    total = engine.costs(batch)["forward_equivalents"]
    assert 1 < total < len(batch)


class _Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) if bool(x.sum() > 0) else self.layer(-x)


class _Writing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 10)

    def forward(self, x: Tensor) -> Tensor:
        out = self.layer(x)
        out.mul_(2)
        return out


class _Aliasing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.curve = nn.Linear(3, 10), nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.layer(x)
        return self.curve(out) + out  # out has been overwritten


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (_Branching(), "cannot trace"),
        (_Writing(), "writes into a value"),
        (_Aliasing(), "something else than the network"),
        (nn.Sequential(nn.Linear(3, 10), nn.Dropout(0.5)), "random"),
    ],
)
def test_networks_that_cannot_be_replayed_run_in_the_general_engine(
    module: nn.Module, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    base_module.say_once.cache_clear()
    with caplog.at_level(logging.WARNING, "zotoolkit"):
        engine = ReplayEngine(module, functional.cross_entropy, general=LoopEngine)
        base = engine.layout.flatten(module)
        batch = CoordinateBatch(base=base, scale=torch.full((2,), 0.1), index=torch.tensor([0, 5]))
        for _ in range(2):
            assert engine.coordinates(batch, torch.ones(4, 3), torch.tensor([0, 1, 2, 3])) is None
    assert not engine.traced
    assert [reason in record.getMessage() for record in caplog.records] == [True]  # said once


def test_a_loss_that_is_no_number_a_candidate_is_refused() -> None:
    engine = ReplayEngine(nn.Linear(3, 2), lambda output, target: (output - target).abs().mean(1))
    batch = CoordinateBatch(base=torch.zeros(8), scale=torch.ones(1), index=torch.tensor([0]))
    with pytest.raises(InvalidSetting, match="one floating-point number a candidate"):
        engine.coordinates(batch, torch.ones(4, 3), torch.ones(4, 2))


def test_frozen_parameters_and_buffers_stay() -> None:
    module = Residual().double()
    module.stem[0].weight.requires_grad_(False)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    engine = ReplayEngine(module, functional.cross_entropy)
    batch = _every_coordinate(engine, module, 1e-2, most=40)
    inputs, target = torch.randn(4, 3, 8, 8).double(), torch.tensor([0, 1, 2, 3])
    values = engine.coordinates(batch, inputs, target)
    torch.testing.assert_close(
        values, LoopEngine(module, functional.cross_entropy).dense(batch.points(), inputs, target)
    )
    assert engine.layout.dim == sum(p.numel() for p in module.parameters() if p.requires_grad)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert all(torch.equal(before[name], value) for name, value in engine.module.state_dict().items() if name in before)


def test_a_point_without_a_finite_loss_gives_no_finite_answer() -> None:
    case = CASES["regression"]
    module, inputs, target = _made(case)
    engine = ReplayEngine(module, case.loss)
    base = torch.full((engine.layout.dim,), torch.nan, dtype=torch.float64)
    values = engine.coordinates(
        CoordinateBatch(base=base, scale=base.new_ones(2), index=torch.tensor([0, 9])), inputs, target
    )
    assert values is not None
    assert not torch.isfinite(values).any()


@pytest.mark.parametrize("setting", [{"arithmetic": "float16"}, {"fused": "yes"}, {"chunk_bytes": 0}])
def test_settings_are_checked(setting: dict[str, Any]) -> None:
    with pytest.raises(InvalidSetting, match=next(iter(setting))):
        ReplayEngine(nn.Linear(2, 2), functional.cross_entropy, **setting)


def _wide(inputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    return tuple(value.double() if value.is_floating_point() else value for value in (inputs, target))  # type: ignore[return-value]


def _gradient(module: nn.Module, loss: Any, inputs: Tensor, target: Tensor) -> Tensor:
    """The (d,) gradient by back-propagation."""
    engine = LoopEngine(module, loss)
    leaf = engine.layout.flatten(module).requires_grad_()
    value = loss(functional_call(engine.module, engine.layout.unflatten(leaf), (inputs,)), target)
    return torch.autograd.grad(value, leaf)[0]
