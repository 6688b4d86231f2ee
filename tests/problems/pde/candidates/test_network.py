"""All ways give what each candidate's network gives by itself."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from problems.pde.candidates import CandidateNetwork
from problems.pde.correctors import MarsMoon, PeriodicConvolutions, SmallConvolutions
from tests.problems.pde.candidates.networks import (
    Decides,
    MixesRows,
    NoLayerCalled,
    ReadsAWeight,
    Recurrent,
    RowsElsewhere,
    Tied,
    convolutions,
    made,
    plainly,
    states,
)
from zotoolkit.errors import InvalidBatch, InvalidSetting, InvalidState
from zotoolkit.queries import CoordinateBatch, DenseBatch, QueryBatch, SeededBatch
from zotoolkit.seeding import torch_generator


def coordinates(network: CandidateNetwork, module: nn.Module, count: int, seed: int = 0) -> CoordinateBatch:
    chance = torch_generator(seed, 5)
    return CoordinateBatch(
        base=network.layout.flatten(module),
        scale=torch.randn(count, generator=chance, dtype=torch.float64),
        index=torch.randint(network.layout.dim, (count,), generator=chance),
    )


def every_coordinate(network: CandidateNetwork, module: nn.Module) -> CoordinateBatch:
    dim = network.layout.dim
    return CoordinateBatch(
        base=network.layout.flatten(module), scale=torch.full((dim,), 0.3).double(), index=torch.arange(dim)
    )


def check(module: nn.Module, batch: QueryBatch, inputs: Tensor, network: CandidateNetwork | None = None) -> None:
    given = (batch.base.clone(), inputs.clone())
    candidates = (network or CandidateNetwork(module)).of(batch)
    wanted = plainly(module, batch, inputs)
    for _ in range(2):  # what the first call prepared serves the second
        torch.testing.assert_close(candidates(inputs), wanted, rtol=1e-10, atol=1e-10)
    assert torch.equal(batch.base, given[0])
    assert torch.equal(inputs, given[1])


@settings(max_examples=25)
@given(
    dims=st.integers(1, 3),
    kernel=st.integers(1, 3),
    padding=st.integers(0, 2),
    mode=st.sampled_from(["zeros", "circular", "replicate"]),
    stride=st.integers(1, 2),
    dilation=st.integers(1, 2),
    groups=st.sampled_from([1, 2]),
    bias=st.booleans(),
    count=st.integers(1, 9),
    width=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_convolutions_of_all_kinds(
    dims: int,
    kernel: int,
    padding: int,
    mode: str,
    stride: int,
    dilation: int,
    groups: int,
    bias: bool,
    count: int,
    width: int,
    seed: int,
) -> None:
    layer: Any = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
    options = {"stride": stride, "dilation": dilation, "groups": groups, "bias": bias, "padding_mode": mode}
    module = made(nn.Sequential(layer(4, 6, kernel, padding=padding, **options), nn.Tanh(), layer(6, 2, 1)), seed)
    network = CandidateNetwork(module)
    batch = coordinates(network, module, count, seed)
    check(module, batch, states(count, width, 4, *range(5, 5 + dims), seed=seed), network)


@pytest.mark.parametrize("padding", ["same", "valid", (2, 0)])
def test_padding_in_words_and_kernels_that_are_not_square(padding: Any) -> None:
    module = made(convolutions(kernel_size=(3, 5), padding=padding))
    network = CandidateNetwork(module)
    batch = every_coordinate(network, module)
    check(module, batch, states(len(batch), 2, 4, 6, 5), network)


@given(
    sizes=st.lists(st.integers(1, 4), max_size=2),
    count=st.integers(1, 9),
    width=st.integers(1, 3),
    bias=st.booleans(),
)
def test_linear_layers_with_axes_in_the_middle(sizes: list[int], count: int, width: int, bias: bool) -> None:
    module = made(nn.Sequential(nn.Linear(3, 4, bias), nn.Tanh(), nn.Linear(4, 2)))
    network = CandidateNetwork(module)
    check(module, coordinates(network, module, count), states(count, width, *sizes, 3), network)


@pytest.mark.parametrize("make", [SmallConvolutions, PeriodicConvolutions, lambda: MarsMoon(4, 2)])
@pytest.mark.parametrize("weights", ["auto", "torch", "vmap", "loop"])
def test_the_correctors(make: Callable[[], nn.Module], weights: Any) -> None:
    module = made(make())
    compiled = weights != "torch"
    network = CandidateNetwork(module, weights=weights if compiled else "auto", compiled=compiled)
    shape = (12,) if isinstance(module, PeriodicConvolutions) else (3, 6, 5)
    for count, width in ((1, 1), (7, 3)):
        inputs = states(count, width, *shape)
        batch = coordinates(network, module, count)
        check(module, batch, inputs, network)
        check(module, DenseBatch.at(batch.points(), context=3), inputs, network)
        seeded = SeededBatch(base=batch.base, scale=batch.scale, seed=torch.arange(count), law="normal")
        check(module, seeded, inputs, network)


@pytest.mark.parametrize("make", [Recurrent, ReadsAWeight, NoLayerCalled, Tied, MixesRows, Decides, RowsElsewhere])
def test_modules_that_do_something_of_their_own(make: Callable[[], nn.Module]) -> None:
    module = made(make())
    network = CandidateNetwork(module)
    batch = every_coordinate(network, module)
    check(module, batch, states(len(batch), 3, 5), network)
    check(module, DenseBatch.at(batch.points()[:5]), states(5, 3, 5), network)


def test_layers_without_a_rule_beside_layers_with_one() -> None:
    norm = nn.BatchNorm2d(6)
    module = made(nn.Sequential(nn.Conv2d(4, 6, 3), norm, nn.ReLU(), nn.ConvTranspose2d(6, 2, 2)))
    norm.running_mean.uniform_(generator=torch_generator(0))  # pyright: ignore[reportOptionalMemberAccess]
    module.eval()
    network = CandidateNetwork(module)
    batch = every_coordinate(network, module)
    check(module, batch, states(len(batch), 2, 4, 5, 5), network)


def test_rules_are_used_where_they_hold() -> None:
    """Else every candidate would have copies of all weights."""
    module = made(nn.Sequential(nn.Linear(40, 60), nn.Tanh(), nn.Linear(60, 40)))
    network = CandidateNetwork(module)
    batch = coordinates(network, module, 50)
    candidates, inputs = network.of(batch), states(50, 1, 40)
    candidates(inputs)
    largest = 0

    class Look(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            if isinstance(out, Tensor):
                largest = max(largest, out.numel())
            return out

    with Look():
        candidates(inputs)
    assert largest <= 50 * 60


def test_frozen_parameters_and_buffers_stay() -> None:
    module = made(nn.Sequential(nn.Conv1d(1, 3, 3), nn.Tanh(), nn.Conv1d(3, 1, 1)))
    module[0].requires_grad_(False)  # pyright: ignore[reportIndexIssue]
    network = CandidateNetwork(module)
    assert network.layout.dim == 4
    batch = every_coordinate(network, module)
    check(module, batch, states(4, 2, 1, 6), network)


def test_the_module_is_copied() -> None:
    module = made(SmallConvolutions())
    network = CandidateNetwork(module)
    batch = coordinates(network, module, 3)
    before, kept = network.of(batch)(states(3, 2, 3, 5, 5)), copy.deepcopy(module)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    assert torch.equal(network.of(batch)(states(3, 2, 3, 5, 5)), before)
    check(kept, batch, states(3, 2, 3, 5, 5), network)


def test_a_state_that_blew_up_harms_no_other() -> None:
    module = made(SmallConvolutions())
    network = CandidateNetwork(module)
    batch = every_coordinate(network, module)[:40]
    inputs = states(40, 2, 3, 6, 6)
    wanted = network.of(batch)(inputs)
    inputs[17, 1] = torch.nan
    found = network.of(batch)(inputs)
    assert bool(found[17, 1].isnan().any())
    assert torch.equal(found[:17], wanted[:17])
    assert torch.equal(found[18:], wanted[18:])
    assert torch.equal(found[17, 0], wanted[17, 0])
    found = CandidateNetwork(module).of(batch)(torch.full_like(inputs, torch.nan))
    assert bool(found.isnan().all())


def test_many_chunks_and_any_order() -> None:
    module = made(SmallConvolutions())
    network = CandidateNetwork(module, compiled=False)
    batch = every_coordinate(network, module)
    shuffled = batch[torch.randperm(len(batch), generator=torch_generator(1))]
    check(module, shuffled, states(len(batch), 2, 3, 24, 16), network)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize(("count", "width"), [(1, 1), (1, 16), (3000, 1)])
def test_from_one_candidate_to_thousands(count: int, width: int, compiled: bool) -> None:
    module = made(PeriodicConvolutions(2, 3))
    network = CandidateNetwork(module, compiled=compiled)
    batch, inputs = coordinates(network, module, count), states(count, width, 5)
    for asked in (batch, SeededBatch(base=batch.base, scale=batch.scale, seed=torch.arange(count))):
        wanted = plainly(module, asked[-3:], inputs[-3:])
        torch.testing.assert_close(network.of(asked)(inputs)[-3:], wanted, rtol=1e-10, atol=1e-10)


class OwnForm(nn.Module):
    """Brings a form of its own for many weights, and counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 2)
        self.asked: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)

    def candidates(self, weights: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        self.asked.append(len(inputs))
        return inputs @ weights["layer.weight"].mT + weights["layer.bias"][:, None]


def test_a_form_of_its_own() -> None:
    module = made(OwnForm())
    network = CandidateNetwork(module)
    batch = every_coordinate(network, module)
    check(module, batch, states(12, 3, 5), network)
    check(module, DenseBatch.at(batch.points()), states(12, 3, 5), network)
    copied = network._module
    assert isinstance(copied, OwnForm)
    assert sum(copied.asked) == 4 * 12
    check(module, batch, states(12, 3, 5), CandidateNetwork(module, weights="vmap"))


def test_single_is_differentiable() -> None:
    module = made(SmallConvolutions())
    network = CandidateNetwork(module)
    x = network.layout.flatten(module).requires_grad_(True)
    inputs = states(2, 3, 5, 5)
    output = network.single(x)(inputs)
    torch.testing.assert_close(output, module(inputs))
    output.square().sum().backward()
    assert x.grad is not None
    assert float(x.grad.abs().max()) > 0
    with pytest.raises(InvalidBatch, match=r"\(d,\)"):
        network.single(x[None])


def test_what_cannot_be_batched_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    module = made(Decides())
    network = CandidateNetwork(module, weights="vmap")
    with caplog.at_level(logging.WARNING, "zotoolkit"):
        batch = DenseBatch.at(every_coordinate(network, module).points())
        check(module, batch, states(len(batch), 3, 5), network)
    assert sum("cannot batch Decides" in record.message for record in caplog.records) <= 1


@pytest.mark.parametrize(
    ("module", "sentence"),
    [
        (nn.Sequential(nn.Conv1d(1, 2, 1), nn.BatchNorm1d(2)), "1: batch norm"),
        (nn.BatchNorm1d(2, track_running_stats=False).eval(), "batch norm"),
        (nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)), "dropout in training"),
        (nn.ReLU(), "no trainable parameter"),
        (3, "torch.nn.Module"),
    ],
)
def test_modules_that_are_refused(module: Any, sentence: str) -> None:
    with pytest.raises(InvalidSetting, match=sentence):
        CandidateNetwork(module)


def test_settings_and_inputs_that_do_not_fit() -> None:
    module = made(SmallConvolutions())
    with pytest.raises(InvalidSetting, match="'loop'"):
        CandidateNetwork(module, weights="lop")  # pyright: ignore[reportArgumentType]
    network = CandidateNetwork(module)
    batch = coordinates(network, module, 4)
    for wrong in (batch.points(), DenseBatch.at(torch.zeros(2, 3).double()), DenseBatch.at(batch.points().float())):
        with pytest.raises(InvalidBatch, match="d=278"):
            network.of(wrong)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidBatch, match="empty"):
        network.of(batch[:0])
    candidates = network.of(batch)
    assert len(candidates) == 4
    for inputs in (states(3, 2, 3, 5, 5), states(4, 0, 3, 5, 5), states(4), None):
        with pytest.raises(InvalidState, match=r"\(4, W"):
            candidates(inputs)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("weights", ["auto", "vmap", "loop"])
def test_networks_that_do_not_answer_row_by_row(weights: Any) -> None:
    class Sums(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(5, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x).sum()

    module = made(Sums())
    network = CandidateNetwork(module, weights=weights)
    with pytest.raises(InvalidState, match="one tensor with a row"):
        network.of(DenseBatch.at(every_coordinate(network, module).points()))(states(30, 2, 5))
