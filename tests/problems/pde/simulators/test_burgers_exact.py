from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from scipy.special import ive

from problems.pde.simulators import Burgers, burgers_wave
from zotoolkit.errors import InvalidSetting

DOUBLE = torch.float64


def test_the_wave_solves_the_equation() -> None:
    """Its time derivative, by differences, is what the equation says, by spectral derivatives."""
    points, time, step, viscosity, length = 128, 0.4, 1e-4, 0.3, 5.0
    both = {"viscosity": viscosity, "amplitudes": (0.4, -0.2), "speed": 0.7, "length": length}
    before, u, after = (burgers_wave(points, time + shift * step, **both) for shift in (-1, 0, 1))
    ik = 2j * math.pi / length * torch.arange(points // 2 + 1, dtype=DOUBLE)
    waves = torch.fft.rfft(u)
    slope, curvature = torch.fft.irfft(ik * waves, n=points), torch.fft.irfft(ik**2 * waves, n=points)
    torch.testing.assert_close((after - before) / (2 * step), viscosity * curvature - u * slope, rtol=0, atol=1e-6)


def test_a_decaying_sine_as_cole_found_it() -> None:
    """From u = sin x: phi = exp(cos x / (2 nu)), whose Fourier coefficients are modified Bessel functions."""
    viscosity, time, points = 0.1, 1.0, 192
    n = torch.arange(1, 60, dtype=DOUBLE)[:, None]
    weights = torch.as_tensor(ive(n.numpy(), 1 / (2 * viscosity))) * torch.exp(-viscosity * n**2 * time)
    x = 2 * math.pi / points * torch.arange(points, dtype=DOUBLE)
    phi = float(ive(0, 1 / (2 * viscosity))) + 2 * (weights * torch.cos(n * x)).sum(0)
    exact = 4 * viscosity * (weights * n * torch.sin(n * x)).sum(0) / phi
    solver = Burgers(points=points, dt=time, substeps=100)
    torch.testing.assert_close(
        solver.step(torch.sin(x)[None], torch.tensor([[viscosity]], dtype=DOUBLE))[0], exact, rtol=0, atol=1e-8
    )


@pytest.mark.parametrize(
    "bad",
    [
        {"viscosity": 0.0},
        {"amplitudes": (0.6, -0.4)},
        {"amplitudes": ()},
        {"amplitudes": (math.nan,)},
        {"speed": math.inf},
        {"length": -1.0},
        {"time": -1.0},
        {"points": 0},
    ],
)
def test_waves_there_are_not(bad: dict[str, Any]) -> None:
    with pytest.raises(InvalidSetting):
        burgers_wave(**({"points": 8, "time": 0.0, "viscosity": 0.1} | bad))
