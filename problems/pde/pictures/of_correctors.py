"""Pictures of correctors: what `CorrectSimulator.pictures` draws of the points that solvers recommend.

All are of the test split, which no solver has seen. Trajectories that are shown are of each solver's first seed.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from problems.pde.measures import energy_spectrum, mae, relative_l2, valid_time
from problems.pde.measures.errors_over_time import Average
from problems.pde.pictures.animation import animate_vorticity
from problems.pde.pictures.curves import draw_errors, draw_spectra
from problems.pde.pictures.space_time import draw_space_time
from problems.pde.pictures.vorticity import draw_vorticity
from zotoolkit.figures import Drawing

if TYPE_CHECKING:
    from problems.pde.correct_simulator import CorrectSimulator

REFERENCE, UNCORRECTED = "reference", "uncorrected"
_LOST = 10.0  # standard deviations of the states that one may be off by before it counts as blown up
_MOMENTS = 4  # columns of vorticity panels
_PICTURES = 60  # of an animation
_PANEL = 240  # pixels
_LETTERS = 11  # that stand beside a panel; longer names are broken
_ENOUGH = 0.5  # share of a method's states that must be left for its spectrum to say something


@dataclass(eq=False)
class _Rollouts:
    """What is kept of each method's trajectories: curves by seed and one trajectory.

    Attributes:
        trajectory: Which of the split is shown.
        shown: By method, `(T + 1, *F)`, the reference first.
        mae: By method, one `(T + 1,)` a seed.
        relative: The same of the relative l2 error.
        spectra: By method, one `(K,)` a seed, the reference first; empty where states are not one-dimensional.
        numbers: `(K,)` wave numbers.
        valid: By method, the `(N,)` valid times of each seed; empty where no threshold is set.
    """

    trajectory: int
    shown: dict[str, Tensor] = field(default_factory=dict)
    mae: dict[str, list[Tensor]] = field(default_factory=dict)
    relative: dict[str, list[Tensor]] = field(default_factory=dict)
    spectra: dict[str, list[Tensor]] = field(default_factory=dict)
    numbers: Tensor = field(default_factory=lambda: torch.zeros(0))
    valid: dict[str, list[Tensor]] = field(default_factory=dict)


def draw_correctors(objective: CorrectSimulator, points: Mapping[str, Mapping[int, Tensor]]) -> list[Drawing]:
    """Draw errors over time, and what fits the states: of a wake vorticity and an animation, in one dimension
    space-time panels and spectra.

    The objective is reset to each point's seed before its network is built, so that all of the network that is no
    parameter is that seed's; afterwards its seed and counters are what they were.

    Args:
        objective: Whose simulator is corrected.
        points: As in `BlackBoxObjective.pictures`.

    Raises:
        MissingExtra: If matplotlib is not installed.
    """
    seed, state = objective.seed, objective.state_dict()
    try:
        rollouts = _rolled_out(objective, points)
    finally:
        objective.reset(seed=seed)
        objective.load_state_dict(state)
    seeds = max((len(by_seed) for by_seed in points.values()), default=1)
    found = list(_errors(objective, rollouts, seeds))
    if _is_wake(objective):
        found += _wake(objective, rollouts)
    elif len(objective.references.fields) == 1:
        found += _line(objective, rollouts, seeds)
    return found


def rollout_steps(objective: CorrectSimulator) -> int:
    """Return how many steps are drawn: of a line all that the test split has, else what the measures go to."""
    whole = len(objective.references.fields) == 1
    return objective.references.test.frames - 1 if whole else max(objective.measures.steps)


def _rolled_out(objective: CorrectSimulator, points: Mapping[str, Mapping[int, Tensor]]) -> _Rollouts:
    references, threshold = objective.references, objective.measures.valid_time
    split, steps = references.test, rollout_steps(objective)
    true = split.states[:, : steps + 1].movedim(1, 0)
    where = references.where
    average, line = _average(objective), len(references.fields) == 1
    found = _Rollouts(len(split) // 2)
    found.shown[REFERENCE] = true[:, found.trajectory]
    if line:
        energy, found.numbers = _spectrum(objective, true)
        found.spectra[REFERENCE] = [energy]
    for name, path in _paths(objective, points, steps):
        path = _until_lost(path, true, references.scale, where)
        found.shown.setdefault(name, path[:, found.trajectory].clone())
        found.mae.setdefault(name, []).append(mae(path, true, where, average))
        found.relative.setdefault(name, []).append(relative_l2(path, true, where, average))
        if line:
            found.spectra.setdefault(name, []).append(_spectrum(objective, path)[0])
        if threshold is not None:
            times = valid_time(path, true, references.dt, threshold=threshold, where=where)
            found.valid.setdefault(name, []).append(times)
    return found


def _paths(
    objective: CorrectSimulator, points: Mapping[str, Mapping[int, Tensor]], steps: int
) -> Iterator[tuple[str, Tensor]]:
    """Yield `(T + 1, N, *F)` trajectories, one method after the other and one seed after the other."""
    split = objective.references.test
    yield UNCORRECTED, objective.corrected(None, split, steps)
    for label, by_seed in points.items():
        # A solver may be called as one of the lines that stand beside all solvers.
        name = f"{label} (solver)" if label in (REFERENCE, UNCORRECTED) else label
        for seed, x in by_seed.items():
            objective.reset(seed=seed)
            yield name, objective.corrected(x, split, steps)


def _until_lost(path: Tensor, true: Tensor, scale: float, where: Tensor | None = None) -> Tensor:
    """Return trajectories, NaN from where they have left the truth by far, most of them on their way to infinity.

    Args:
        path: `(T + 1, N, *F)`.
        true: Of the same shape.
        scale: Standard deviation of the states.
        where: `*F` bool, the entries that count; None for all.
    """
    apart = (path - true).flatten(2) if where is None else (path - true)[:, :, where]
    off = apart.double().square().mean(2).sqrt()
    lost = (~(off <= _LOST * scale)).cummax(0).values
    return path.masked_fill(lost.reshape(*lost.shape, *[1] * (path.ndim - 2)), torch.nan)


def _errors(objective: CorrectSimulator, rollouts: _Rollouts, seeds: int) -> Iterator[Drawing]:
    dt = objective.references.dt
    band = f", then over {seeds} seeds, in a band from lowest to highest" if seeds > 1 else ""
    curves = {"mean absolute error": rollouts.mae, "relative l2 error": rollouts.relative}
    for name, what in zip(("error-over-time", "relative-error-over-time"), curves, strict=True):
        caption = (
            f"{what.capitalize()} over time on {_about(objective)}: {_average(objective)} over trajectories{band}. "
            f'"{UNCORRECTED}" is the simulator alone. A cross marks where a method has blown up: it is off by more '
            f"than {_LOST:g} standard deviations of the states."
        )
        content = draw_errors(_stacked(curves[what]), dt, what=what, baselines=[UNCORRECTED], title="Test split")
        if curves[what] is rollouts.relative:
            caption += _valid_times(objective, rollouts)
        yield Drawing(name, caption, content)


def _valid_times(objective: CorrectSimulator, rollouts: _Rollouts) -> str:
    """Say for how long predictions are worth something, where that is asked for."""
    if not rollouts.valid:
        return ""
    times = ", ".join(f"{name} {float(torch.cat(each).mean()):.3g}" for name, each in rollouts.valid.items())
    longest = rollout_steps(objective) * objective.references.dt
    return (
        f" Mean time until the relative error of a trajectory exceeds {objective.measures.valid_time:g}, "
        f"{longest:g} at most: {times}."
    )


def _wake(objective: CorrectSimulator, rollouts: _Rollouts) -> Iterator[Drawing]:
    dt, steps = objective.references.dt, rollout_steps(objective)
    which = _trajectory(objective, rollouts.trajectory)
    moments = sorted({max(1, steps * (number + 1) // _MOMENTS) for number in range(_MOMENTS)})
    shown = f"for {which}, which training has not seen, {steps} steps of the test split; first seed of each solver"
    yield Drawing(
        "vorticity",
        f"Vorticity {shown}.",
        draw_vorticity(_broken(rollouts.shown), moments, dt=dt, title=f"Test split, {which}"),
    )
    frames = list(range(0, steps + 1, max(1, -(-steps // _PICTURES))))
    content = animate_vorticity(
        rollouts.shown, frames, dt=dt, width=_PANEL, columns=2, title=f"Test split, {which}", progress=False
    )
    yield Drawing("animation", f"Vorticity, animated, {shown}.", content)


def _line(objective: CorrectSimulator, rollouts: _Rollouts, seeds: int) -> Iterator[Drawing]:
    dt, steps = objective.references.dt, rollout_steps(objective)
    which = _trajectory(objective, rollouts.trajectory)
    yield Drawing(
        "space-time",
        f"States over space and time and what they are off by, for {which} of the test split, {steps} steps; first "
        "seed of each solver.",
        draw_space_time(_broken(rollouts.shown), dt, _length(objective), title=f"Test split, {which}"),
    )
    band = f"; median over {seeds} seeds, band from lowest to highest" if seeds > 1 else ""
    spectra = {name: rows[rows.isfinite().all(1)] for name, rows in _stacked(rollouts.spectra).items()}
    spectra = {name: rows for name, rows in spectra.items() if len(rows)}
    yield Drawing(
        "spectrum",
        f"Energy by wave number, averaged over the second half of {_about(objective)}{band}. States that have "
        "blown up are left out, and seeds of which less than half is left.",
        draw_spectra(spectra, rollouts.numbers, baselines=[REFERENCE], title="Test split"),
    )


def _broken(methods: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return trajectories by names in lines that have room beside a panel."""
    return {
        "\n".join(textwrap.wrap(name, _LETTERS, break_on_hyphens=False)) or name: path for name, path in methods.items()
    }


def _stacked(curves: Mapping[str, list[Tensor]]) -> dict[str, Tensor]:
    """Return one row a seed."""
    return {name: torch.stack(rows) for name, rows in curves.items()}


def _spectrum(objective: CorrectSimulator, path: Tensor) -> tuple[Tensor, Tensor]:
    """Return the `(K,)` mean energies of the states left in a path's second half, NaN if few are, and wave numbers."""
    numbers, energy = energy_spectrum(path[len(path) // 2 :].flatten(0, 1), _length(objective))
    left = energy.isfinite().all(1)
    enough = float(left.double().mean()) >= _ENOUGH
    return energy[left].mean(0) if enough else torch.full_like(energy[0], torch.nan), numbers


def _length(objective: CorrectSimulator) -> float:
    """Return the length of the interval; where the simulator does not tell, it is counted in points."""
    return float(getattr(objective.simulator, "length", objective.references.fields[0]))


def _average(objective: CorrectSimulator) -> Average:
    """Return how trajectories are averaged: on a line, where single ones blow up, by the median."""
    return "median" if len(objective.references.fields) == 1 else "mean"


def _is_wake(objective: CorrectSimulator) -> bool:
    """Whether the states are velocities in the domain of the wake, which is twice as long as wide."""
    references = objective.references
    if references.layout != "staggered" or len(references.fields) != 3:
        return False
    known = references.settings.get("simulator", "WakeFlow") == "WakeFlow"
    return known and references.fields[1] - 1 == 2 * (references.fields[2] - 1)


def _about(objective: CorrectSimulator) -> str:
    """Say what the test split holds."""
    split = objective.references.test
    count = f"{len(split)} trajector{'y' if len(split) == 1 else 'ies'}"
    return f"{count} of the test split{_values(objective)}, {rollout_steps(objective)} steps"


def _values(objective: CorrectSimulator) -> str:
    names, params = objective.simulator.parameters, objective.references.test.params
    if len(names) != 1:
        return ""
    low, high = float(params.min()), float(params.max())
    return f" ({names[0]} {low:g}{f' to {high:g}' if high > low else ''})"


def _trajectory(objective: CorrectSimulator, number: int) -> str:
    names, params = objective.simulator.parameters, objective.references.test.params[number]
    if not names:
        return f"trajectory {number}"
    return ", ".join(f"{name} = {float(value):g}" for name, value in zip(names, params, strict=True))
