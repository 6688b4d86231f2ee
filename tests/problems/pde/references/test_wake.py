"""Reference data of the wake flow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from problems.pde.references import References, wake_references
from problems.pde.simulators import rollout
from problems.pde.simulators.wake import WakeFlow, divergence, downsample, spin_up
from zotoolkit.errors import CFLWarning, InvalidSetting, InvalidState, ReferencesMismatch

FEW: dict[str, Any] = {"train": [1e5, 4e5], "validation": [2e5], "test": [3e5]}


def small(**changes: Any) -> References:
    return wake_references(**{"resolution": 16, "factor": 2, "spin_up": 5, "frames": 4, **FEW, **changes})


def test_they_are_the_fine_flow_seen_by_the_coarse_grid() -> None:
    references, fine = small(), WakeFlow(32)
    state, params = spin_up(fine, FEW["train"], 5)
    path = downsample(rollout(fine, state, params, 3), 2).transpose(0, 1)
    torch.testing.assert_close(references.train.states, path, rtol=0, atol=1e-5)
    assert torch.equal(references.train.params, params)
    assert (references.dt, references.layout, references.fields) == (1.0, "staggered", (2, 33, 17))
    references.check(WakeFlow(16))


def test_what_is_down_sampled_has_no_divergence() -> None:
    states = small().test.states
    coarse, fine = (
        divergence(states),
        divergence(rollout(WakeFlow(32), WakeFlow(32).initial_state(), None or torch.tensor([[3e5]]), 1)[-1]),
    )
    assert float(fine.abs().max()) < 2e-6
    assert float(coarse.abs().max()) < 4e-6


def test_the_numbers_are_those_of_this_version() -> None:
    """Whoever changes what a step returns raises `_VERSION`, so that no one is given former data."""
    states = small(cache=False).test.states[0, -1].double()
    assert float(states[1].abs().mean()) == pytest.approx(0.066595, abs=1e-5)


def test_other_splits_do_not_change_a_trajectory() -> None:
    alone = small(train=[5e5], validation=[6e5]).test.states
    torch.testing.assert_close(alone, small().test.states, rtol=0, atol=1e-5)


def test_they_are_found_again(own_cache: Path) -> None:
    first, seen = small(frames=3), []
    again = small(frames=3, progress=lambda done, total: seen.append(done))
    assert not seen
    assert torch.equal(first.test.states, again.test.states)
    small(frames=3, factor=3, progress=lambda done, total: seen.append(done))
    assert seen[-1] == 7
    assert [path for path in (own_cache / "pde").iterdir() if path.name.startswith("wake-flow-")]


def test_reference_data_of_another_wake() -> None:
    references = small()
    with pytest.raises(ReferencesMismatch, match=r"states of shape \(2, 33, 17\), WakeFlow takes \(2, 37, 19\)"):
        references.check(WakeFlow(18))
    with pytest.raises(ReferencesMismatch, match=r"are of dt=1\.0, WakeFlow has dt=0.5"):
        references.check(WakeFlow(16, dt=0.5))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"resolution": 15}, "resolution must be"),
        ({"resolution": 17}, "resolution must be even"),
        ({"factor": 0}, "factor must be"),
        ({"factor": 1.5}, "factor must be"),
        ({"spin_up": -1}, "spin_up"),
        ({"frames": 1}, "frames"),
        ({"dt": 0.0}, "dt"),
        ({"train": []}, "train must hold one Reynolds number a trajectory"),
        ({"test": 1e5}, "test must hold one Reynolds number"),
        ({"test": [1e5, 0.0]}, "each Reynolds number in test must be a finite number above 0"),
        ({"validation": [-1e5]}, "each Reynolds number in validation"),
        ({"test": [7e5, 4e5]}, "reynolds=400000 is in train and in test"),
        ({"validation": [2e5, 2e5]}, "reynolds=200000 is in validation and in validation"),
    ],
)
def test_bad_settings(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidSetting, match=words):
        small(**changes)


def test_a_flow_that_blows_up_is_an_error() -> None:
    with (
        pytest.warns(CFLWarning),
        pytest.raises(InvalidState, match=r"blew up within \d+ steps: test\[0\], reynolds=20"),
    ):
        small(test=[20.0], spin_up=200)
