"""The compiled stack against torch's convolutions."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from problems.pde.candidates import CandidateNetwork, stack
from problems.pde.candidates.stack import Stack
from problems.pde.correctors import MarsMoon, PeriodicConvolutions, PlainConvolutions, SmallConvolutions
from problems.pde.correctors.plain_convolutions import PADDING_MODES
from tests.problems.pde.candidates.networks import made, plainly, states
from zotoolkit.engines.layout import ParameterLayout
from zotoolkit.errors import InvalidState
from zotoolkit.queries import CoordinateBatch, DenseBatch, SeededBatch
from zotoolkit.seeding import torch_generator

pytestmark = pytest.mark.skipif(stack._library() is None, reason="no C++ compiler")


def stack_of(module: nn.Module) -> Stack | None:
    return Stack.of(module, ParameterLayout.of(module))


@settings(max_examples=60)
@given(
    channels=st.lists(st.integers(1, 18), min_size=2, max_size=4),
    reach=st.lists(st.integers(0, 2), min_size=1, max_size=2),
    mode=st.sampled_from(PADDING_MODES),
    slope=st.sampled_from([0.0, 0.3, None]),
    biases=st.lists(st.booleans(), min_size=3, max_size=3),
    height=st.integers(3, 9),
    width=st.integers(3, 37),
    count=st.integers(1, 4),
    each=st.integers(1, 3),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_it_is_convolutions(
    channels: list[int],
    reach: list[int],
    mode: str,
    slope: float | None,
    biases: list[bool],
    height: int,
    width: int,
    count: int,
    each: int,
    dtype: torch.dtype,
) -> None:
    layers: list[nn.Module] = []
    layer: Any = nn.Conv1d if len(reach) == 1 else nn.Conv2d
    kernel = tuple(2 * r + 1 for r in reach)
    for inputs, outputs, bias in zip(channels[:-1], channels[1:], biases, strict=False):
        layers += [
            layer(inputs, outputs, kernel, padding=tuple(reach), padding_mode=mode, bias=bias),
            nn.Softsign() if slope is None else nn.LeakyReLU(slope) if slope else nn.ReLU(),
        ]
    module = made(nn.Sequential(*layers[:-1])).to(dtype)
    layout, found = ParameterLayout.of(module), stack_of(module)
    assert found is not None
    inputs = states(count, each, channels[0], *(height, width)[-len(reach) :]).to(dtype)
    assert found.takes(inputs)
    batch = CoordinateBatch(
        base=layout.flatten(module),
        scale=torch.randn(count, generator=torch_generator(1)).to(dtype),
        index=torch.randint(layout.dim, (count,), generator=torch_generator(2)),
    )
    wanted = plainly(module, batch, inputs)
    close = 1e-11 if dtype == torch.float64 else 1e-4
    scale = float(wanted.abs().max())
    for asked in (batch, DenseBatch.at(batch.points())):
        apart = found.candidates_of(asked)(inputs) - wanted
        assert float(apart.abs().max()) <= close * (1 + scale)


def test_what_is_and_what_is_no_stack() -> None:
    conv = nn.Conv2d(2, 2, 3, padding=1)
    assert stack_of(SmallConvolutions()) == Stack(
        (3, 6, 2), (True, True), (3, 3), "zeros", "softsign", 0.0, torch.float32, 3
    )
    assert stack_of(nn.Sequential(nn.Conv2d(2, 1, 5, padding="same", bias=False))) == Stack(
        (2, 1), (False,), (5, 5), "zeros", "leaky", 0.0, torch.float32, 3
    )
    assert stack_of(PeriodicConvolutions()) == Stack(
        (1, 8, 1), (True, True), (5,), "circular", "leaky", 0.0, torch.float32, 1
    )

    class Changed(PlainConvolutions):
        def forward(self, fields: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(fields)

    frozen, mixed, watched, half = SmallConvolutions(), SmallConvolutions(), SmallConvolutions(), SmallConvolutions()
    frozen.layers[0].requires_grad_(False)
    mixed.layers[0].double()
    watched.layers[1].register_forward_hook(lambda *_: None)
    others = [
        *(frozen, mixed, watched, half.half(), Changed(), MarsMoon(4, 1), PlainConvolutions(activation=nn.Tanh), conv),
        nn.Sequential(conv, nn.ReLU(), conv),
        nn.Sequential(conv, nn.ReLU()),
        nn.Sequential(conv, nn.Conv2d(2, 2, 3, padding=1)),
        nn.Sequential(conv, nn.ReLU(), nn.Conv2d(2, 2, 1)),
        nn.Sequential(conv, nn.ReLU(), nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular")),
        nn.Sequential(conv, nn.ReLU(), nn.Conv2d(2, 2, 3, padding=1), nn.LeakyReLU(), nn.Conv2d(2, 2, 3, padding=1)),
        *(
            nn.Sequential(nn.Conv2d(2, 2, **options))  # pyright: ignore[reportArgumentType]
            for options in (
                {"kernel_size": 3},
                {"kernel_size": 3, "padding": 1, "stride": 2},
                {"kernel_size": 3, "padding": 1, "dilation": 2},
                {"kernel_size": 3, "padding": 1, "groups": 2},
                {"kernel_size": (3, 1), "padding": (0, 1)},
                {"kernel_size": 2, "padding": "same"},
            )
        ),
        nn.Linear(2, 2),
    ]
    assert [stack_of(module) for module in others] == [None] * len(others)


def test_inputs_that_the_general_way_takes_or_refuses() -> None:
    network = CandidateNetwork(made(SmallConvolutions("reflect")))
    batch = DenseBatch.at(states(2, 278))
    short = states(2, 1, 3, 1, 5)
    found = stack_of(made(SmallConvolutions("reflect")))
    assert found is not None
    assert not any(found.takes(wrong) for wrong in (short, states(2, 1, 3, 5), states(2, 1, 3, 5, 5).float()))
    with pytest.raises(RuntimeError, match=r"[Pp]adding size"):
        network.of(batch)(short)
    with pytest.raises(InvalidState, match=r"\(B, 3, H, W\)"):
        network.of(batch)(states(2, 1, 2, 5, 5))
    with pytest.raises(RuntimeError, match=r"type"):
        network.of(batch)(states(2, 1, 3, 5, 5).float())


@given(points=st.integers(4, 70), width=st.integers(1, 9), reach=st.integers(0, 2), count=st.integers(1, 3))
def test_the_network_on_a_line(points: int, width: int, reach: int, count: int) -> None:
    module = made(PeriodicConvolutions(width, 2 * reach + 1))
    found = stack_of(module)
    assert found is not None
    batch = DenseBatch.at(states(count, ParameterLayout.of(module).dim))
    inputs = states(count, 2, points)
    assert found.takes(inputs)
    torch.testing.assert_close(found.candidates_of(batch)(inputs), plainly(module, batch, inputs))
    assert not found.takes(inputs[..., : max(0, 2 * reach - 1)])


def test_seeded_batches_and_inputs_that_are_not_contiguous() -> None:
    module = made(SmallConvolutions())
    network = CandidateNetwork(module)
    batch = SeededBatch(base=states(278), scale=states(5), seed=torch.arange(5), law="sphere")
    inputs = states(5, 2, 3, 8, 12).mT
    torch.testing.assert_close(network.of(batch)(inputs), plainly(module, batch, inputs), rtol=1e-11, atol=1e-11)


def test_points_that_do_not_fit_into_memory_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "points_that_fit", lambda batch: 2)
    module = made(SmallConvolutions())
    batch = DenseBatch.at(states(5, 278))
    inputs = states(5, 2, 3, 6, 7)
    found = CandidateNetwork(module).of(batch)(inputs)
    torch.testing.assert_close(found, plainly(module, batch, inputs), rtol=1e-11, atol=1e-11)


def test_numbers_that_are_not_finite_stay_in_their_state() -> None:
    module = made(SmallConvolutions("circular"))
    batch = DenseBatch.at(states(3, 278))
    inputs = states(3, 2, 3, 6, 7)
    run = CandidateNetwork(module).of(batch)
    wanted = run(inputs)
    inputs[1, 0, 1, 2, 3] = torch.nan
    inputs[2, 1] = torch.inf
    found = run(inputs)
    torch.testing.assert_close(found, plainly(module, batch, inputs), rtol=1e-11, atol=1e-11, equal_nan=True)
    kept = torch.tensor([[True, True], [False, True], [True, False]])
    assert torch.equal(found[kept], wanted[kept])


def test_threads_change_nothing() -> None:
    module = made(SmallConvolutions())
    batch = DenseBatch.at(states(9, 278))
    inputs = states(9, 2, 3, 6, 7)
    run = CandidateNetwork(module).of(batch)
    before = torch.get_num_threads()
    answers = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            answers.append(run(inputs))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*answers)


def test_without_a_compiler_torch_does_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Any
) -> None:
    monkeypatch.setenv("ZOTOOLKIT_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with caplog.at_level(logging.WARNING, "zotoolkit"):
        assert stack._library.__wrapped__() is None
    assert "run by torch" in caplog.text
    monkeypatch.setattr(stack, "_library", lambda: None)
    module = made(SmallConvolutions())
    batch = DenseBatch.at(states(2, 278))
    inputs = states(2, 2, 3, 6, 7)
    found = CandidateNetwork(module).of(batch)(inputs)
    torch.testing.assert_close(found, plainly(module, batch, inputs), rtol=1e-11, atol=1e-11)
