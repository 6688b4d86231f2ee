"""Reference data of the forced Burgers equation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from problems.pde.references import References, forced_burgers_references
from problems.pde.simulators import ForcedBurgers, KuramotoSivashinsky, rollout
from zotoolkit.errors import InvalidSetting, ReferencesMismatch

COARSE = ForcedBurgers(16)


def small(**changes: Any) -> References:
    few = {"factor": 2, "spin_up": 3, "frames": 4, "train": 3, "validation": 1, "test": 2}
    return forced_burgers_references(**{"coarse": COARSE, **few, **changes})


def test_they_are_the_fine_states_seen_by_the_coarse_grid() -> None:
    references, fine = small(spin_up=0), COARSE.finer(2)
    references.check(COARSE)
    test = references.test
    assert test.states[:, :, 2, 0, 0].tolist() == pytest.approx([pytest.approx([0.0, 0.1, 0.2, 0.3])] * 2)
    # Where a force acts on a still fluid, the first step is the force itself, averaged along the coarse faces.
    start = torch.zeros(2, *fine.fields)
    pushed = COARSE.downsample(fine.step(start, test.params), 16)[:, :2] / 0.1
    seen = COARSE.downsample(torch.cat((fine.force(start, test.params), start[:, 2:]), 1), 16)[:, :2]
    torch.testing.assert_close(pushed, seen, rtol=1e-4, atol=1e-6)
    after = COARSE.step(test.states[:, 0], test.params)
    error = (after - test.states[:, 1])[:, :2].norm() / test.states[:, 1, :2].norm()
    assert 1e-4 < float(error) < 0.05


def test_each_has_a_force_and_a_start_of_its_own() -> None:
    references = small()
    splits = (references.train, references.validation, references.test)
    assert [len(split) for split in splits] == [3, 1, 2]
    for values in (torch.cat([s.params for s in splits]), torch.cat([s.states[:, 0].flatten(1) for s in splits])):
        apart = (values[:, None] - values).abs().amax(2)
        assert bool((apart.fill_diagonal_(1.0) > 0.01).all())
    assert references.layout == "timed"


def test_the_coarse_step_departs_from_them() -> None:
    references = small(factor=4, spin_up=0, frames=41)
    test = references.test
    alone = rollout(COARSE, test.states[:, 0], test.params, 40)
    error = (alone - test.states.movedim(1, 0))[:, :, :2].flatten(1).norm(dim=1)
    assert float(error[10]) < float(error[20]) < float(error[40])


def test_a_split_does_not_depend_on_the_sizes_of_others() -> None:
    torch.testing.assert_close(small(train=5).test.states, small().test.states, rtol=0, atol=1e-5)
    assert float((small(seed=1).test.states - small().test.states).abs().max()) > 0.5


def test_they_are_found_again(own_cache: Path) -> None:
    first, seen = small(frames=3), []
    again = small(frames=3, progress=lambda done, total: seen.append(done))
    assert not seen
    assert torch.equal(first.test.states, again.test.states)
    small(frames=3, factor=3, progress=lambda done, total: seen.append(done))
    assert seen[-1] == 5
    assert [path for path in (own_cache / "pde").iterdir() if path.name.startswith("forced-burgers-")]


def test_reference_data_of_another_equation() -> None:
    references = small()
    with pytest.raises(ReferencesMismatch, match=r"viscosity=0\.1, ForcedBurgers has viscosity=0\.2"):
        references.check(ForcedBurgers(16, viscosity=0.2))
    with pytest.raises(ReferencesMismatch, match=r"of dt=0\.1, ForcedBurgers has dt=0\.05"):
        references.check(ForcedBurgers(16, dt=0.05))
    with pytest.raises(ReferencesMismatch, match="120 parameters"):
        references.check(ForcedBurgers(16, forces=3))


def test_the_numbers_are_those_of_this_version() -> None:
    """Whoever changes what a step returns raises `_VERSION`, so that no one is given former data."""
    states = small(cache=False).test.states[:, -1, :2].double()
    assert float(states.norm()) == pytest.approx(59.136676, rel=1e-4)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"coarse": KuramotoSivashinsky()}, "coarse must be a ForcedBurgers"),
        ({"factor": 0}, "factor"),
        ({"spin_up": -1}, "spin_up"),
        ({"frames": 1}, "frames"),
        ({"train": 0}, "train must be an integer of at least 1"),
        ({"test": 1.5}, "test must be an integer"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_settings(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidSetting, match=words):
        small(**changes)
