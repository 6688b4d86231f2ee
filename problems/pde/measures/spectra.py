"""Energy by wave number: which scales a prediction gets right when its phase has long been lost.

States that are not finite have spectra of NaN; leave them out before averaging, and say how many.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from problems.pde.simulators.spectral import wave_numbers
from problems.pde.simulators.wake.staggered import check_staggered
from zotoolkit.checks import check_least, check_positive
from zotoolkit.errors import InvalidSetting, InvalidState, brief


def energy_spectrum(states: Tensor, length: float = 2 * math.pi) -> tuple[Tensor, Tensor]:
    """Return the energy of periodic states by wave number: over all of them it sums to mean(u^2) / 2.

    Args:
        states: `(..., n)` floating point, n at least 2.
        length: Of the interval; at the default wave numbers count waves.

    Returns:
        `(n // 2 + 1,)` angular wave numbers and `(..., n // 2 + 1)` energies, float64.

    Raises:
        InvalidState: If states have another form.
        InvalidSetting: If length is not positive.

    Examples:
        >>> x = torch.arange(8) * (2 * torch.pi / 8)
        >>> numbers, energy = energy_spectrum(1 + 2 * torch.sin(3 * x))
        >>> numbers.tolist()
        [0.0, 1.0, 2.0, 3.0, 4.0]
        >>> energy.round(decimals=6).abs().tolist()
        [0.5, 0.0, 0.0, 1.0, 0.0]
    """
    check_positive(length, "length")
    if not isinstance(states, Tensor) or not states.is_floating_point() or not states.ndim or states.shape[-1] < 2:
        raise InvalidState(f"states must be (..., n) floating point with n >= 2, got {brief(states)}.")
    return wave_numbers(states.shape[-1], length).to(states.device), _energy(states.double())


def stream_spectrum(velocity: Tensor, spacing: float, *, behind: float = 70.0) -> tuple[Tensor, Tensor]:
    """Return the kinetic energy of a wake by wave number along the stream, behind the disc.

    Both components are brought to the cells' centres, lose their mean along the stream, and go through a Hann window,
    since the wake is not periodic; energies are averaged over the columns and make up for the window. The sum is the
    mean kinetic energy of what swings, (v_y'^2 + v_x'^2) / 2, up to what the window weighs otherwise.

    Args:
        velocity: `(..., 2, rows + 1, columns + 1)` staggered, v_y first.
        spacing: Width of a cell, such as `flow.spacing`.
        behind: Where the region begins, y in units of the domain, whose disc ends at 60; 0 for the whole grid.

    Returns:
        `(K,)` angular wave numbers above 0 and `(..., K)` energies, float64.

    Raises:
        InvalidState: If velocity has another layout.
        InvalidSetting: If spacing is not positive, or fewer than 8 rows lie behind.

    Examples:
        >>> from problems.pde.simulators.wake import WakeFlow
        >>> flow = WakeFlow(16)
        >>> numbers, energy = stream_spectrum(flow.initial_state(3), flow.spacing)
        >>> numbers.shape, energy.shape
        (torch.Size([10]), torch.Size([3, 10]))
    """
    check_staggered(velocity)
    first = math.ceil(check_least(behind, 0, "behind") / check_positive(spacing, "spacing"))
    rows = velocity.shape[-2] - 1 - first
    if rows < 8:
        raise InvalidSetting(
            f"behind={behind:g} leaves {max(rows, 0)} of {velocity.shape[-2] - 1} rows, and 8 are needed; take less."
        )
    velocity = velocity.double()
    down = (velocity[..., 0, :-1, :-1] + velocity[..., 0, 1:, :-1]) / 2
    across = (velocity[..., 1, :-1, :-1] + velocity[..., 1, :-1, 1:]) / 2
    centred = torch.stack((down, across), -3)[..., first:, :].transpose(-1, -2)  # (..., 2, columns, rows)
    window = torch.hann_window(rows, periodic=True, dtype=torch.float64, device=velocity.device)
    swinging = centred - centred.mean(-1, keepdim=True)
    energy = _energy(swinging * window / window.square().mean().sqrt()).mean(-2).sum(-2)
    return wave_numbers(rows, rows * spacing)[1:].to(velocity.device), energy[..., 1:]


def _energy(states: Tensor) -> Tensor:
    """Return half the mean square by wave: each stands for its two signs, but the mean and an even grid's last."""
    points = states.shape[-1]
    squares = (torch.fft.rfft(states) / points).abs().square()
    squares[..., 0] /= 2
    if points % 2 == 0:
        squares[..., -1] /= 2
    return squares
