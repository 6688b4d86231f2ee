"""Spin-up and the frequency at which vortices leave the disc."""

from __future__ import annotations

import math

import pytest
import torch

from problems.pde.simulators import rollout
from problems.pde.simulators.wake import WakeFlow, spin_up, strouhal_number
from zotoolkit.errors import CFLWarning, InvalidSetting, InvalidState


def test_spin_up_is_as_many_steps_from_the_start() -> None:
    flow, seen = WakeFlow(16), []
    state, params = spin_up(flow, [1e5, 1e6], 4, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert params.tolist() == [[1e5], [1e6]]
    assert torch.equal(state, rollout(flow, flow.initial_state(2), params, 4)[-1])
    assert torch.equal(spin_up(flow, [1e5], 0)[0], flow.initial_state())


def test_bad_spin_ups() -> None:
    flow = WakeFlow(16)
    with pytest.raises(InvalidSetting, match="one number a state"):
        spin_up(flow, [], 1)
    with pytest.raises(InvalidSetting, match="one number a state"):
        spin_up(flow, 1e5, 1)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidSetting, match="steps"):
        spin_up(flow, [1e5], -1)
    with pytest.raises(InvalidState, match="above 0"):
        spin_up(flow, [1e5, -1], 1)


def test_a_flow_that_blows_up_is_told_of() -> None:
    with pytest.warns(CFLWarning), pytest.raises(InvalidState, match=r"blew up at reynolds=.'10'"):
        spin_up(WakeFlow(16), [10.0, 1e6], 60)


def test_vortices_leave_the_disc_at_the_known_frequency() -> None:
    # At Reynolds numbers of 200 and 960 by diameter, of which the grid's own viscosity takes a good part. Without it
    # laminar shedding has 0.117 at its onset and 0.19 at 180, turbulent wakes 0.2 to 0.21: Fey, Koenig and Eckelmann,
    # Phys. Fluids 10, 1998. dt makes the flow move 0.96 cells a step, which costs least viscosity.
    flow = WakeFlow(64, dt=1.5)
    state, params = spin_up(flow, [1e5, 4.8e5], 1600, poke=4.0)
    probes = []
    with torch.no_grad():
        for _ in range(600):
            state = flow.step(state, params)
            probes.append(state[:, 1, 58, 32].clone())
    signal = torch.stack(probes).double()
    assert (signal.std(0) > 0.2).all()
    numbers = strouhal_number(signal, 1.5)
    assert 0.13 < float(numbers[0]) < float(numbers[1]) < 0.21


def test_the_frequency_of_a_known_signal() -> None:
    time = torch.arange(500, dtype=torch.float64)[:, None] * 0.5
    signal = 3 + torch.sin(2 * math.pi * torch.tensor([0.02, 0.05]) * time)
    assert strouhal_number(signal, 0.5).tolist() == pytest.approx([0.4, 1.0], rel=0.01)


def test_bad_signals() -> None:
    with pytest.raises(InvalidState, match=r"\(T, B\)"):
        strouhal_number(torch.zeros(100), 1.0)
    with pytest.raises(InvalidState, match="finite"):
        strouhal_number(torch.full((100, 1), torch.nan), 1.0)
    with pytest.raises(InvalidSetting, match="dt"):
        strouhal_number(torch.zeros(100, 1), 0.0)
