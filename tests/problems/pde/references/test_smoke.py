"""Reference data of rising smoke."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from problems.pde.references import References, smoke_references
from problems.pde.simulators import ForcedBurgers, SmokeFlow, rollout
from problems.pde.simulators.wake import divergence
from zotoolkit.errors import InvalidSetting, ReferencesMismatch

COARSE = SmokeFlow(16)
FEW: dict[str, Any] = {"train": [0.1, 0.2], "validation": [0.12], "test": [0.15], "starts": 2}


def small(**changes: Any) -> References:
    return smoke_references(**{"coarse": COARSE, "factor": 2, "spin_up": 3, "frames": 4, **FEW, **changes})


def test_they_are_the_fine_flow_seen_by_the_coarse_grid() -> None:
    references = small()
    references.check(COARSE)
    assert references.train.states.shape == (4, 4, 3, 17, 17)
    assert references.train.params[:, 0].tolist() == pytest.approx([0.1, 0.1, 0.2, 0.2])
    assert references.layout == "marked"
    states = references.test.states
    assert float(divergence(states[:, :, :2]).abs().max()) < 4e-6
    # The marker stays in the box; what MacCormack's limits take from it is little.
    amount = states[:, :, 2].sum((2, 3))
    assert float((amount[:, -1] / amount[:, 0] - 1).abs().max()) < 0.05
    # At rest but for the buoyancy, until the spin-up has set it in motion.
    assert float(small(spin_up=0).test.states[:, 0, :2].abs().max()) == 0.0
    assert float(states[:, 0, 0].abs().max()) > 0.1


def test_clouds_differ_between_trajectories() -> None:
    references = small(spin_up=0)
    first = torch.cat([split.states[:, 0, 2] for split in (references.train, references.validation, references.test)])
    apart = (first[:, None] - first).abs().amax((2, 3))
    assert bool((apart.fill_diagonal_(1.0) > 0.5).all())


def test_the_coarse_step_departs_from_them() -> None:
    test = small(factor=4, frames=21).test
    alone = rollout(COARSE, test.states[:, 0], test.params, 20)
    error = (alone - test.states.movedim(1, 0)).flatten(1).norm(dim=1)
    assert float(error[5]) < float(error[10]) < float(error[20])


def test_other_splits_do_not_change_a_trajectory() -> None:
    alone = small(train=[0.3], validation=[0.4]).test.states
    torch.testing.assert_close(alone, small().test.states, rtol=0, atol=1e-5)
    assert float((small(seed=1).test.states - alone).abs().max()) > 0.5


def test_they_are_found_again(own_cache: Path) -> None:
    first, seen = small(frames=3), []
    again = small(frames=3, progress=lambda done, total: seen.append(done))
    assert not seen
    assert torch.equal(first.test.states, again.test.states)
    small(coarse=SmokeFlow(16, inflow=0.1), frames=3, progress=lambda done, total: seen.append(done))
    assert seen[-1] == 5
    assert [path for path in (own_cache / "pde").iterdir() if path.name.startswith("smoke-")]


def test_reference_data_of_another_box() -> None:
    references = small()
    with pytest.raises(ReferencesMismatch, match=r"inflow=0.0, SmokeFlow has inflow=0.1"):
        references.check(SmokeFlow(16, inflow=0.1))
    with pytest.raises(ReferencesMismatch, match="advection='maccormack', SmokeFlow has advection='semi-lagrangian'"):
        references.check(SmokeFlow(16, advection="semi-lagrangian"))
    with pytest.raises(ReferencesMismatch, match=r"of dt=1\.0, SmokeFlow has dt=0\.5"):
        references.check(SmokeFlow(16, dt=0.5))


def test_the_numbers_are_those_of_this_version() -> None:
    """Whoever changes what a step returns raises `_VERSION`, so that no one is given former data."""
    states = small(cache=False).test.states[:, -1].double()
    assert float(states.norm()) == pytest.approx(7.1704840, rel=1e-4)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"coarse": ForcedBurgers()}, "coarse must be a SmokeFlow"),
        ({"factor": 0}, "factor"),
        ({"spin_up": -1}, "spin_up"),
        ({"frames": 1}, "frames"),
        ({"starts": 0}, "starts"),
        ({"seed": 1.5}, "seed"),
        ({"train": []}, "train must hold buoyancies"),
        ({"test": 0.1}, "test must hold buoyancies"),
        ({"test": [0.3, 0.0]}, "each buoyancy in test must be a finite number above 0"),
        ({"validation": [-0.1]}, "each buoyancy in validation"),
        ({"test": [0.2]}, "buoyancy=0.2 is in train and in test"),
    ],
)
def test_bad_settings(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidSetting, match=words):
        small(**changes)
