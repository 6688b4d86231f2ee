"""Outputs at each candidate, from every engine, against the network itself."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.utils import _pytree as pytree

from tests.engines.networks import CASES, Case
from zotoolkit import CoordinateBatch, DenseBatch, QueryBatch, SeededBatch
from zotoolkit.engines import DenseEngine, Engine, LoopEngine, ReplayEngine, VmapEngine
from zotoolkit.engines import base as base_module

ENGINES: dict[str, Callable[[nn.Module, Any], Engine]] = {
    "replay": ReplayEngine,
    "dense": DenseEngine,
    "loop": LoopEngine,
    "vmap": VmapEngine,
}


def made(case: Case, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module, inputs = case.build().to(dtype), case.inputs()
    return module, inputs.to(dtype) if inputs.is_floating_point() else inputs


def coordinates(engine: Engine, module: nn.Module, mu: float, most: int = 80) -> CoordinateBatch:
    """Coordinates of all parameters, in no order, some twice, with queries of the base point in between."""
    generator = torch.Generator().manual_seed(1)
    base = engine.layout.flatten(module)
    index = torch.randperm(engine.layout.dim, generator=generator)[:most]
    index = torch.cat((index, index.flip(0)[:5]))
    scale = mu * (1 + torch.rand(len(index), generator=generator)).to(base)
    scale[::3] *= -1
    scale[::7] = 0
    return CoordinateBatch(base=base, scale=scale, index=index)


def expected(engine: Engine, batch: QueryBatch, inputs: Tensor) -> list[Tensor]:
    """The network's own outputs, leaf by leaf, written here."""
    with torch.no_grad():
        rows = [functional_call(engine.module, engine.layout.unflatten(point), (inputs,)) for point in batch.points()]
    return [torch.stack(leaves) for leaves in zip(*map(pytree.tree_leaves, rows), strict=True)]


def gathered(chunks: Any) -> tuple[list[Tensor], int]:
    chunks = [pytree.tree_leaves(chunk) for chunk in chunks]
    return [torch.cat(leaves) for leaves in zip(*chunks, strict=True)], len(chunks)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("kind", ENGINES)
def test_outputs_are_the_networks_own_in_float64(name: str, kind: str) -> None:
    case = CASES[name]
    module, inputs = made(case)
    engine = ENGINES[kind](module, case.loss)
    batch = coordinates(engine, module, 1e-2)
    found, _ = gathered(engine.outputs(batch, inputs))
    wanted = expected(engine, batch, inputs)
    assert len(found) == len(wanted)
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-11, atol=1e-11)
    assert max(float((theirs - theirs[0]).abs().max()) for theirs in wanted) > 1e-4  # the steps are large enough


@pytest.mark.parametrize("kind", ENGINES)
@pytest.mark.parametrize("name", ["denoiser", "denoiser, evaluating", "two outputs"])
def test_every_sort_of_batch(kind: str, name: str) -> None:
    module, inputs = made(CASES[name])
    engine = ENGINES[kind](module, CASES[name].loss)
    base = engine.layout.flatten(module)
    scale = torch.tensor([0.1, 0.0, -0.2, 0.3, 0.1], dtype=base.dtype)
    directions = torch.randn(5, len(base), dtype=base.dtype, generator=torch.Generator().manual_seed(0))
    batches: list[QueryBatch] = [
        SeededBatch(base=base, scale=scale, seed=torch.arange(5), law="normal"),
        DenseBatch(base=base, scale=scale, directions=directions),
        CoordinateBatch(base=base, scale=scale, index=torch.arange(5)),
        CoordinateBatch(base=base, scale=torch.zeros_like(scale), index=torch.arange(5)),
    ]
    for batch in batches:
        found, _ = gathered(engine.outputs(batch, inputs))
        for mine, theirs in zip(found, expected(engine, batch, inputs), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-11, atol=1e-11)
        assert list(engine.outputs(batch[:0], inputs)) == []


@pytest.mark.parametrize("kind", ENGINES)
def test_chunks_come_in_order_and_fit(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES["denoiser"]
    module, inputs = made(case)
    engine = ENGINES[kind](module, case.loss)
    batch = coordinates(engine, module, 1e-2, most=30)
    monkeypatch.setattr(base_module, "_OUTPUT_BYTES_CPU", 4 * inputs.numel() * 8)  # four candidates
    monkeypatch.setattr(base_module, "_POINT_BYTES", 4 * engine.layout.dim * 8)
    found, chunks = gathered(engine.outputs(batch, inputs))
    torch.testing.assert_close(found[0], expected(engine, batch, inputs)[0], rtol=1e-11, atol=1e-11)
    assert chunks >= len(batch) / 4


@settings(max_examples=25)
@given(order=st.permutations(range(12)), mu=st.floats(1e-6, 1.0), training=st.booleans())
def test_the_order_is_the_batchs(order: list[int], mu: float, training: bool) -> None:
    case = CASES["denoiser" if training else "denoiser, evaluating"]
    module, inputs = made(case)
    engine = ReplayEngine(module, case.loss)
    base = engine.layout.flatten(module)
    index = torch.linspace(0, engine.layout.dim - 1, 12).long()[order]
    batch = CoordinateBatch(base=base, scale=torch.full((12,), mu, dtype=base.dtype), index=index)
    found, _ = gathered(engine.outputs(batch, inputs))
    torch.testing.assert_close(found[0], expected(engine, batch, inputs)[0], rtol=1e-10, atol=1e-10)


def test_losses_of_the_outputs_are_the_engines_losses() -> None:
    case = CASES["denoiser"]
    module, inputs = made(case)
    target = torch.randn(4, 2, 6, 6, dtype=torch.float64)
    engine = ReplayEngine(module, case.loss)
    batch = coordinates(engine, module, 1e-2)
    (outputs,) = engine.outputs(batch, inputs)
    losses = torch.stack([case.loss(output, target) for output in outputs])
    values = engine.coordinates(batch, inputs, target)
    assert values is not None
    torch.testing.assert_close(values, losses, rtol=1e-11, atol=1e-11)
    other = engine.coordinates(batch, inputs, -target)  # the kept values serve the next target too
    assert other is not None
    torch.testing.assert_close(other[0], case.loss(outputs[0], -target))


@pytest.mark.parametrize("kind", ENGINES)
def test_the_consumer_runs_under_its_own_modes(kind: str) -> None:
    """Neither no_grad nor the seeded generators reach what happens between two chunks."""
    module = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2)).double()
    if kind == "vmap":
        engine: Engine = VmapEngine(module, functional.mse_loss, randomness="same")
    else:
        engine = ENGINES[kind](module, functional.mse_loss)
    base = engine.layout.flatten(module)
    batch = DenseBatch.at(base + torch.zeros(5, 1, dtype=base.dtype))
    state = torch.get_rng_state()
    for chunk in engine.outputs(batch, torch.ones(2, 3, dtype=torch.float64), seed=3):
        assert torch.is_grad_enabled()
        assert torch.equal(torch.get_rng_state(), state)
        torch.testing.assert_close(chunk, chunk[:1].expand(chunk.shape))  # all drop the same units
    first, second = (torch.cat(list(engine.outputs(batch, torch.ones(2, 3).double(), seed=s))) for s in (3, 4))
    assert not torch.equal(first, second)


def test_float32_and_bfloat16_outputs_are_float32() -> None:
    case = CASES["denoiser"]
    module, inputs = made(case, torch.float32)
    twin = LoopEngine(copy.deepcopy(module).double(), case.loss)
    for arithmetic, tolerance in (("float32", 1e-5), ("bfloat16", 3e-3)):
        engine = ReplayEngine(module, case.loss, arithmetic=arithmetic)  # pyright: ignore[reportArgumentType]
        batch = coordinates(engine, module, 0.05)
        (found,) = engine.outputs(batch, inputs)
        assert found.dtype == torch.float32
        wide = CoordinateBatch(base=batch.base.double(), scale=batch.scale.double(), index=batch.index)
        wanted = expected(twin, wide, inputs.double())[0]
        torch.testing.assert_close(found.double(), wanted, rtol=0, atol=tolerance)


def test_a_network_that_vmap_refuses_runs_in_the_loop(caplog: pytest.LogCaptureFixture) -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            out = self.layer(x)
            return out if float(out.sum()) > 0 else -out

    module = Branching().double()
    base_module.say_once.cache_clear()
    with caplog.at_level(logging.WARNING, "zotoolkit"):
        engine = ReplayEngine(module, functional.mse_loss)
    inputs = torch.randn(5, 3, dtype=torch.float64)
    batch = coordinates(engine, module, 0.1)
    found, _ = gathered(engine.outputs(batch, inputs))
    torch.testing.assert_close(found[0], expected(engine, batch, inputs)[0])
    assert "cannot trace" in caplog.text
