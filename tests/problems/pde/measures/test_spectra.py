"""Spectra: Parseval's sum, single waves, and a wake's."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from problems.pde.measures import energy_spectrum, stream_spectrum
from problems.pde.simulators.wake import WakeFlow, spin_up
from zotoolkit.errors import InvalidSetting, InvalidState


@given(st.integers(0, 99), st.integers(2, 33), st.sampled_from([(), (3,), (2, 2)]))
def test_energies_sum_to_half_the_mean_square(seed: int, points: int, leading: tuple[int, ...]) -> None:
    states = torch.randn(*leading, points, generator=torch.Generator().manual_seed(seed))
    numbers, energy = energy_spectrum(states, length=3.0)
    assert energy.shape == (*leading, points // 2 + 1)
    assert energy.dtype == numbers.dtype == torch.float64
    torch.testing.assert_close(energy.sum(-1), states.double().square().mean(-1) / 2)
    torch.testing.assert_close(energy_spectrum(states.roll(1, -1))[1], energy, rtol=1e-5, atol=1e-9)


@given(st.integers(1, 15), st.floats(0.1, 5.0), st.floats(0.5, 100.0))
def test_a_single_wave_has_one_energy(waves: int, amplitude: float, length: float) -> None:
    x = torch.arange(32, dtype=torch.float64) / 32
    numbers, energy = energy_spectrum(amplitude * torch.cos(2 * math.pi * waves * x + 0.7), length)
    assert float(energy[waves]) == pytest.approx(amplitude**2 / 4)
    assert float(energy.sum() - energy[waves]) == pytest.approx(0, abs=1e-12 * amplitude**2)
    assert float(numbers[waves]) == pytest.approx(2 * math.pi * waves / length)


def test_what_is_not_finite_stays_with_itself() -> None:
    states = torch.ones(2, 8)
    states[1, 3] = torch.nan
    energy = energy_spectrum(states)[1]
    assert torch.isfinite(energy[0]).all()
    assert energy[1].isnan().all()


def test_waves_along_the_stream_are_found_at_their_number() -> None:
    flow = WakeFlow(32)
    rows = torch.arange(65, dtype=torch.float64)
    number = 2 * math.pi * 5 / (2 / 3 * 63 * flow.spacing)  # five waves in the 42 rows behind
    state = torch.zeros(2, 65, 33, dtype=torch.float64)
    state[1, :64, :] = (3 + 0.5 * torch.sin(number * flow.spacing * (rows[:64] + 0.5)))[:, None]
    numbers, energy = stream_spectrum(state, flow.spacing, behind=22 * flow.spacing)
    assert len(numbers) == 21
    assert float(numbers[energy.argmax()]) == pytest.approx(number, rel=1e-9)
    assert float(energy.sum()) == pytest.approx(0.5 * 0.5**2 / 2, rel=1e-6)
    assert float(energy[3:6].sum() / energy.sum()) > 0.999


def test_both_components_count_and_what_does_not_swing_does_not() -> None:
    flow = WakeFlow(16)
    still = stream_spectrum(flow.initial_state(poke=0.0), flow.spacing)[1]
    assert float(still.abs().max()) < 1e-20
    generator = torch.Generator().manual_seed(0)
    down, across = torch.randn(2, 2, 33, 17, generator=generator).unbind()
    down[1], across[0] = 0, 0
    both = stream_spectrum(down + across, flow.spacing)[1]
    torch.testing.assert_close(both, stream_spectrum(down, flow.spacing)[1] + stream_spectrum(across, flow.spacing)[1])


def test_a_wake_has_more_energy_in_long_waves_than_in_short_ones() -> None:
    flow = WakeFlow(32)
    state, _ = spin_up(flow, [1e5, 1e6], 250, poke=4.0)
    numbers, energy = stream_spectrum(state, flow.spacing)
    assert energy.shape == (2, len(numbers))
    assert bool((energy[:, :5].sum(1) > 20 * energy[:, -5:].sum(1)).all())


@pytest.mark.parametrize(
    ("velocity", "changes", "error", "words"),
    [
        (torch.zeros(33, 17), {}, InvalidState, "v_y first"),
        (torch.zeros(2, 33, 17), {"spacing": 0.0}, InvalidSetting, "spacing"),
        (torch.zeros(2, 33, 17), {"behind": -1.0}, InvalidSetting, "behind"),
        (torch.zeros(2, 33, 17), {"behind": 160.0}, InvalidSetting, "leaves 6 of 32 rows"),
        (torch.zeros(2, 33, 17), {"behind": 1e4}, InvalidSetting, "leaves 0 of 32 rows"),
    ],
)
def test_bad_wakes(velocity: torch.Tensor, changes: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        stream_spectrum(velocity, **{"spacing": 6.25, **changes})


@pytest.mark.parametrize("states", [torch.zeros(3, 1), torch.zeros(()), torch.zeros(3).long(), [1.0, 2.0]])
def test_bad_states(states: Any) -> None:
    with pytest.raises(InvalidState, match="states must be"):
        energy_spectrum(states)
    with pytest.raises(InvalidSetting, match="length"):
        energy_spectrum(torch.zeros(4), length=-1.0)
