"""A Kuramoto-Sivashinsky step and its 89-parameter corrector, against torch.fft and nn.Conv1d; one core.

The coarse solver of the solver-in-the-loop problem: length 60, 48 points, ETD1 with dt 0.5, and after it a network of
two periodic convolutions, 1 -> 8 -> 1 channels, kernel 5, ReLU. The baseline is what one writes first: coefficients
made once, two real FFTs forth and one back a step, then `nn.Conv1d` with circular padding. Both sides have the same
weights and start from the same states, and their answers are compared before the clock starts.

The judged row is the time a state at 1,024 states, ours alone. The others tell how it changes with the number of
states, how it divides between solver and network, and what a step of the fine solver takes that makes the reference
(192 points, ETDRK2, 10 substeps) against the same scheme written with torch.fft.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from harness import Options, Report, Row, alternate
from torch import Tensor, nn

from problems.pde.correctors import PeriodicConvolutions
from problems.pde.simulators import KuramotoSivashinsky
from problems.pde.simulators.etd import phi_1, phi_2

GOAL = 2.0
STATES = 1024
LENGTH, DT = 60.0, 0.5


class Obvious:
    """The equation by torch.fft, with ETD1 or ETDRK2.

    Args:
        points: Of the grid.
        substeps: Steps of the scheme in one step.
        order: 1 or 2.
        device: Where the states are.
    """

    def __init__(self, points: int, substeps: int, order: int, device: str) -> None:
        k = 2 * math.pi / LENGTH * torch.arange(points // 2 + 1, dtype=torch.float64)
        dt = DT / substeps
        z = dt * (k**2 - k**4)
        slope = -0.5j * k
        self._e = torch.exp(z).float().to(device)
        self._first = (dt * phi_1(z) * slope).to(torch.complex64).to(device)
        self._second = (dt * phi_2(z) * slope).to(torch.complex64).to(device)
        self._points, self._substeps, self._order = points, substeps, order

    def step(self, u: Tensor) -> Tensor:
        """Return the states one step later."""
        v = torch.fft.rfft(u)
        for _ in range(self._substeps):
            square = torch.fft.rfft(torch.fft.irfft(v, n=self._points) ** 2)
            v = self._e * v + self._first * square
            if self._order == 2:
                v = v + self._second * (torch.fft.rfft(torch.fft.irfft(v, n=self._points) ** 2) - square)
        return torch.fft.irfft(v, n=self._points)

    def step_from_values(self, u: Tensor) -> Tensor:
        """Return the same for one substep of ETD1, with the square taken of the values at hand: one FFT less."""
        v = self._e * torch.fft.rfft(u) + self._first * torch.fft.rfft(u**2)
        return torch.fft.irfft(v, n=self._points)


def run(options: Options) -> Report:
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = PeriodicConvolutions().to(options.device)
    convolutions = nn.Sequential(network.conv1, nn.ReLU(), network.conv2)
    coarse = KuramotoSivashinsky(LENGTH, 48, DT)
    obvious = Obvious(48, 1, 1, options.device)
    rows: list[Row] = []
    counts = (64, STATES) if options.quick else (64, 256, STATES, 4096)
    with torch.no_grad():
        for count in counts:
            u = coarse.start(count, device=options.device)

            def theirs(u: Tensor = u) -> Tensor:
                after = obvious.step_from_values(u)
                return after + convolutions(after[:, None])[:, 0]

            def ours(u: Tensor = u) -> Tensor:
                after = coarse.step(u)
                return after + network(after)

            goal = GOAL if count == STATES else None
            rows.append(_row(f"step + corrector, {count:,} states", theirs, ours, count, options, goal))
        u = coarse.start(STATES, device=options.device)
        rows.append(
            _row("solver alone", lambda: obvious.step_from_values(u), lambda: coarse.step(u), STATES, options, None)
        )
        rows.append(
            _row("network alone", lambda: convolutions(u[:, None])[:, 0], lambda: network(u), STATES, options, None)
        )
        fine, obvious_fine = coarse.finer(), Obvious(192, 10, 2, options.device)
        w = fine.start(STATES, device=options.device)
        rows.append(
            _row("fine reference step", lambda: obvious_fine.step(w), lambda: fine.step(w), STATES, options, None)
        )
    faster = {row.label: round(_speed_up(row), 2) for row in rows}
    settings = {
        "coarse": "length 60, 48 points, ETD1, dt 0.5",
        "fine": "192 points, ETDRK2, 10 substeps",
        "network": "conv5 1->8->1, periodic, ReLU, 89 parameters",
        "dtype": "float32",
        "threads": 1,
        "states": STATES,
        "baseline / ours": faster,
    }
    notes = [f"{label}: {ratio:g} times as fast as the baseline" for label, ratio in faster.items()]
    if options.device == "cpu":
        notes.append(
            "from 1,024 states on a layer's output is over 1 MB, and whether its memory is new each time (page faults) "
            "changes from run to run: the times of both sides, each by a factor of up to 3"
        )
    return Report(rows, settings, notes=notes)


def _row(
    label: str,
    theirs: Callable[[], Tensor],
    ours: Callable[[], Tensor],
    count: int,
    options: Options,
    goal: float | None,
) -> Row:
    torch.testing.assert_close(ours(), theirs(), rtol=1e-4, atol=1e-4)
    calls = 1 if options.quick else max(1, 4 * STATES // count)

    def repeated(call: Callable[[], Tensor]) -> Callable[[], None]:
        def many() -> None:
            for _ in range(calls):
                call()

        return many

    times = alternate(repeated(theirs), repeated(ours), options.repeats(21), options.device)
    baseline, mine = ([1e6 * seconds / (calls * count) for seconds in side] for side in times)
    return Row(label, baseline, mine, "us a state", "value", goal)


def _speed_up(row: Row) -> float:
    return Row(row.label, row.baseline, row.ours, row.unit, "at least").ratio
