"""What an objective draws of its solvers' points: which pictures, of what, in which words."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from problems.pde import CorrectSimulator, Measures, References, Trajectories
from problems.pde.measures import mae
from problems.pde.pictures import of_correctors
from problems.pde.simulators import from_step
from tests.problems.pde import small
from zotoolkit.figures import Drawing
from zotoolkit.queries import DenseBatch

pytestmark = pytest.mark.filterwarnings("ignore::zotoolkit.errors.CFLWarning")


def points(objective: CorrectSimulator, *names: str, seeds: int = 2) -> dict[str, dict[int, Tensor]]:
    found: dict[str, dict[int, Tensor]] = {}
    for number, name in enumerate(names):
        found[name] = {seed: objective.reset(seed=seed)[0] * (1 - 0.1 * number) for seed in range(seeds)}
    objective.reset(seed=0)
    return found


def named(pictures: list[Drawing]) -> dict[str, Drawing]:
    return {picture.name: picture for picture in pictures}


def test_a_line_has_errors_space_time_panels_and_spectra() -> None:
    objective = small.burgers(measures=Measures(steps=(2, 5), valid_time=0.3))
    found = named(objective.pictures(points(objective, "NON", "ZO-SOL")))
    assert list(found) == ["error-over-time", "relative-error-over-time", "space-time", "spectrum"]
    assert all(picture.ending == "png" for picture in found.values())
    # All frames of the test split are drawn, whatever the measures go to.
    for picture in found.values():
        assert "test split" in picture.caption
        assert "11 steps" in picture.caption
    said = found["error-over-time"].caption
    assert said.startswith(
        "Mean absolute error over time on 2 trajectories of the test split (viscosity 0.025 to 0.035)"
    )
    assert "median over trajectories, then over 2 seeds, in a band from lowest to highest" in said
    assert "exceeds 0.3, 2.2 at most: uncorrected" in found["relative-error-over-time"].caption
    assert "for viscosity = 0.035" in found["space-time"].caption


def test_a_wake_has_vorticity_and_an_animation() -> None:
    objective = small.wake(torch.float32)
    found = named(objective.pictures(points(objective, "ZO-SOL", seeds=1)))
    assert list(found) == ["error-over-time", "relative-error-over-time", "vorticity", "animation"]
    assert found["animation"].ending == "gif"
    for name in ("vorticity", "animation"):
        assert "for reynolds = 300000, which training has not seen, 5 steps of the test split" in found[name].caption
    assert "seeds" not in found["error-over-time"].caption
    assert "mean over trajectories" in found["error-over-time"].caption


def test_other_states_have_errors_alone() -> None:
    path = torch.rand(3, 5, 4, 4, generator=torch.Generator().manual_seed(0))
    split = Trajectories(path, torch.zeros(3, 0))
    objective = CorrectSimulator(
        from_step(lambda state: 0.9 * state, fields=(4, 4)),
        References(split, split, split, dt=0.5),
        lambda: nn.Linear(4, 4),
        windows=2,
        unroll=2,
        measures=Measures(steps=(2,)),
    )
    found = named(objective.pictures(points(objective, "any")))
    assert list(found) == ["error-over-time", "relative-error-over-time"]
    assert "3 trajectories of the test split, 2 steps" in found["error-over-time"].caption


def test_seed_and_counters_stay_as_they_were() -> None:
    objective = small.burgers()
    given = points(objective, "ZO-SOL")
    x0, _ = objective.reset(seed=5)
    objective.step(DenseBatch.at(x0[None]))
    before = objective.state_dict()
    assert before["queries"] == 1
    objective.pictures(given)
    assert (objective.seed, objective.state_dict()) == (5, before)


def test_every_point_is_drawn_with_the_network_of_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Buffered(nn.Module):
        """A network whose fixed part is drawn by lot."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))
            self.fixed: Tensor
            self.register_buffer("fixed", torch.randn(small.POINTS, dtype=torch.float64))

        def forward(self, x: Tensor) -> Tensor:
            return 0.01 * self.fixed + self.weight * x

    data = small.references()
    objective = CorrectSimulator(
        small.burgers().simulator, data, Buffered, windows=2, unroll=2, measures=Measures((2,))
    )
    kept: dict[str, Tensor] = {}
    drawn = of_correctors.draw_errors

    def watched(errors: dict[str, Tensor], *more: Any, **others: Any) -> bytes:
        kept.update(errors if not kept else {})
        return drawn(errors, *more, **others)

    monkeypatch.setattr(of_correctors, "draw_errors", watched)
    x = torch.zeros(1, dtype=torch.float64)
    objective.pictures({"same": {3: x, 7: x}})
    true = data.test.states.movedim(1, 0)
    for row, seed in enumerate((3, 7)):
        objective.reset(seed=seed)
        wanted = mae(objective.corrected(x, data.test, data.test.frames - 1), true, average="median")
        assert torch.equal(kept["same"][row], wanted)
    assert not torch.equal(kept["same"][0], kept["same"][1])
    assert set(kept) == {"uncorrected", "same"}


def test_labels_that_stand_for_something_else_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    objective = small.burgers()
    kept: list[str] = []
    drawn = of_correctors.draw_space_time

    def watched(methods: dict[str, Tensor], *more: Any, **others: Any) -> bytes:
        kept.extend(methods)
        return drawn(methods, *more, **others)

    monkeypatch.setattr(of_correctors, "draw_space_time", watched)
    objective.pictures(points(objective, "reference", "uncorrected", seeds=1))
    names = [" ".join(name.split()) for name in kept]
    assert names == ["reference", "uncorrected", "reference (solver)", "uncorrected (solver)"]


def test_what_has_left_the_truth_by_far_counts_as_blown_up() -> None:
    true = torch.zeros(5, 2, 4)
    path = true.clone()
    path[1:, 0], path[2, 1], path[3, 1, 2] = 9.0, 11.0, torch.nan
    found = of_correctors._until_lost(path, true, 1.0)
    assert torch.equal(found[:, 0], path[:, 0])
    assert torch.equal(found[:2, 1], path[:2, 1])
    assert found[2:, 1].isnan().all()  # although it comes back


def test_a_corrector_that_blows_up_is_drawn_too() -> None:
    objective = small.burgers()
    x0, _ = objective.reset(seed=0)
    found = objective.pictures({"wild": {0: 100 * torch.ones_like(x0)}, "start": {0: x0}})
    assert len(found) == 4


def test_a_spectrum_of_few_states_that_are_left_is_none() -> None:
    objective = small.burgers()
    path = torch.rand(8, 4, small.POINTS, generator=torch.Generator().manual_seed(0)).double()
    path[4:, :2] = torch.nan
    energy, numbers = of_correctors._spectrum(objective, path)
    wanted, _ = of_correctors._spectrum(objective, path[:, 2:])
    assert energy.shape == numbers.shape
    assert torch.allclose(energy, wanted)
    path[6:, 2] = torch.nan
    assert of_correctors._spectrum(objective, path)[0].isnan().all()


def test_long_names_are_broken_beside_panels() -> None:
    found = of_correctors._broken({"Sparse ZO-SOL, 1200 iterations": torch.zeros(1), "": torch.ones(1)})
    assert list(found) == ["Sparse\nZO-SOL,\n1200\niterations", ""]
