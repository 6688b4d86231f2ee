"""Reference data in one dimension."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from problems.pde.references import burgers_references, kuramoto_sivashinsky_references
from problems.pde.simulators import Burgers, KuramotoSivashinsky, downsample, rollout
from zotoolkit.errors import InvalidSetting, ReferencesMismatch

FEW: dict[str, Any] = {"train": 3, "validation": 2, "test": 2, "spin_up": 20, "frames": 5}


def relative(found: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    return (found - truth).norm(dim=-1) / truth.norm(dim=-1)


def test_chaotic_trajectories_lie_on_the_attractor() -> None:
    references = kuramoto_sivashinsky_references()
    references.check(KuramotoSivashinsky())
    assert [len(split) for split in (references.train, references.validation, references.test)] == [64, 16, 32]
    assert references.train.states.shape == (64, 201, 48)
    assert 1.1 < references.scale < 1.5
    # The same spread from first to last: the transient is over.
    spread = references.train.states.std((0, 2))
    assert float(spread.max() / spread.min()) < 1.25
    assert float(references.train.states.mean((1, 2)).abs().max()) < 0.02


def test_chaotic_trajectories_follow_a_finer_step() -> None:
    coarse = KuramotoSivashinsky()
    references = kuramoto_sivashinsky_references(dtype=torch.float64, frames=9)
    finest = coarse.finer(8, substeps=100, order=4)
    # What the coarse grid cannot carry is not in the frame, so both start from the frame and are compared early on.
    start = references.test.states[:, 0]
    padded = torch.fft.irfft(8 * torch.fft.rfft(start), n=8 * coarse.points)
    truth = downsample(rollout(finest, padded, None, 8), coarse.points).transpose(0, 1)
    assert float(relative(references.test.states, truth)[:, 8].mean()) < 0.02
    alone = rollout(coarse, start, None, 8).transpose(0, 1)
    assert float(relative(alone, truth)[:, 8].mean()) > 0.15


def test_a_split_does_not_depend_on_the_sizes_of_others() -> None:
    few = kuramoto_sivashinsky_references(**FEW)
    more = kuramoto_sivashinsky_references(**{**FEW, "train": 9})
    torch.testing.assert_close(few.test.states, more.test.states, rtol=0, atol=1e-5)
    other = kuramoto_sivashinsky_references(**FEW, seed=1)
    assert float((few.test.states - other.test.states).abs().max()) > 1
    assert len({float(s.states[0, 0, 0]) for s in (few.train, few.validation, few.test)}) == 3


def test_a_simulator_of_the_users_settings() -> None:
    coarse = KuramotoSivashinsky(length=30.0, points=32, dt=0.25, order=2)
    references = kuramoto_sivashinsky_references(coarse, factor=2, **FEW)
    references.check(coarse)
    assert (references.fields, references.dt) == ((32,), 0.25)
    with pytest.raises(ReferencesMismatch, match=r"length=30.0, KuramotoSivashinsky has length=40.0"):
        references.check(KuramotoSivashinsky(length=40.0, points=32, dt=0.25))


def test_burgers_shocks_are_too_sharp_for_the_coarse_grid_alone() -> None:
    references = burgers_references(dtype=torch.float64)
    coarse = Burgers(points=32, dt=0.05)
    references.check(coarse)
    assert references.train.states.shape == (48, 61, 32)
    assert references.test.params[::16, 0].tolist() == [0.025, 0.04]
    test = references.test
    alone = rollout(coarse, test.states[:, 0], test.params, 20).transpose(0, 1)
    assert float(relative(alone, test.states[:, :21])[:, 20].mean()) > 0.1
    finest = coarse.finer(16, substeps=40)
    path = rollout(finest, finest.start(3, dtype=torch.float64), torch.full((3, 1), 0.02, dtype=torch.float64), 20)
    fine = coarse.finer(4)
    start = fine.start(3, dtype=torch.float64)
    found = rollout(fine, start, torch.full((3, 1), 0.02, dtype=torch.float64), 20)
    assert float(relative(downsample(found, 32), downsample(path, 32))[20].mean()) < 2e-3


def test_the_numbers_are_those_of_this_version() -> None:
    """Whoever changes what a step returns raises `_VERSION`, so that no one is given former data."""
    chaos = kuramoto_sivashinsky_references(**FEW, cache=False, dtype=torch.float64)
    assert float(chaos.test.states[:, -1].norm()) == pytest.approx(11.305860739779769, rel=1e-9)
    waves = burgers_references(starts=2, frames=9, cache=False, dtype=torch.float64)
    assert float(waves.test.states[:, -1].norm()) == pytest.approx(10.523210880731718, rel=1e-9)


@pytest.mark.parametrize(
    ("function", "changes", "words"),
    [
        (kuramoto_sivashinsky_references, {"coarse": Burgers()}, "coarse must be a KuramotoSivashinsky"),
        (kuramoto_sivashinsky_references, {"test": 0}, "test must be an integer of at least 1"),
        (kuramoto_sivashinsky_references, {"factor": 0}, "factor"),
        (kuramoto_sivashinsky_references, {"substeps": 0}, "substeps"),
        (kuramoto_sivashinsky_references, {"seed": -1}, "seed"),
        (kuramoto_sivashinsky_references, {"frames": 1}, "frames"),
        (burgers_references, {"coarse": KuramotoSivashinsky()}, "coarse must be a Burgers"),
        (burgers_references, {"test": ()}, "test must hold viscosities"),
        (burgers_references, {"train": 0.1}, "train must hold viscosities"),
        (burgers_references, {"train": [0.1, 0.0]}, "each viscosity in train must be a finite number above 0"),
        (burgers_references, {"starts": 0}, "starts"),
        (burgers_references, {"seed": 1.5}, "seed"),
    ],
)
def test_bad_settings(function: Any, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidSetting, match=words):
        function(**changes)
