"""Reference data made by icoFoam, in small cavities."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from problems.pde.references.cavity import average_cells, cavity_references
from problems.pde.simulators import KuramotoSivashinsky, rollout
from problems.pde.simulators.external import IcoFoam
from tests.problems.pde.simulators.external.openfoam.needs import needs_openfoam
from zotoolkit.errors import InvalidSetting, InvalidState, ReferencesMismatch

FEW: dict[str, Any] = {"train": [0.5, -1.0], "validation": [0.7], "test": [1.2], "factor": 2, "frames": 3, "spin_up": 1}


@needs_openfoam
def test_they_are_the_fine_runs_on_the_coarse_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOTOOLKIT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cases").mkdir()
    flow = IcoFoam(4, viscosity=1e-2, folder=tmp_path / "cases")
    references = cavity_references(flow, **FEW)
    references.check(flow)
    assert references.train.states.shape == (2, 3, 2, 4, 4)
    assert references.train.params.flatten().tolist() == [0.5, -1.0]
    fine = flow.finer(2)
    path = rollout(fine, fine.at_rest(1, dtype=torch.float64), torch.tensor([[1.2]], dtype=torch.float64), 3)[1:, 0]
    wanted = path.unflatten(-1, (4, 2)).unflatten(-3, (4, 2)).mean((-3, -1))
    torch.testing.assert_close(references.test.states[0], wanted.float(), rtol=0, atol=1e-5)
    again = cavity_references(flow, **FEW)  # from the cache
    assert torch.equal(again.test.states, references.test.states)
    assert fine.state_steps == 3
    assert list((tmp_path / "cases").iterdir()) == []
    for other in (IcoFoam(4, viscosity=2e-2), IcoFoam(4, viscosity=1e-2, dt=0.2), IcoFoam(8, viscosity=1e-2)):
        with pytest.raises(ReferencesMismatch):
            references.check(other)


@needs_openfoam
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train": []}, "train must hold the lid's speed, one a trajectory, at least one"),
        ({"train": 1.0}, "train must hold the lid's speed"),
        ({"test": [float("nan")]}, "test must hold the lid's speed"),
        ({"test": ["fast"]}, "test must hold the lid's speed"),
        ({"test": [0.7]}, "speed=0.7 is in validation and in test"),
        ({"factor": 1}, "factor must be an integer of at least 2"),
        ({"frames": 1}, "frames must be"),
        ({"spin_up": -1}, "spin_up must be"),
        ({"coarse": KuramotoSivashinsky()}, "coarse must be an IcoFoam"),
    ],
)
def test_settings_that_cannot_be_used(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidSetting, match=re.escape(words)):
        cavity_references(**({"coarse": IcoFoam(4), "cache": False} | FEW | changes))


@pytest.mark.parametrize("states", [torch.zeros(4), torch.zeros(4, 6).long(), torch.zeros(4, 5), [[1.0]]])
def test_states_that_cannot_be_averaged(states: Any) -> None:
    with pytest.raises(InvalidState):
        average_cells(states, 2)
