"""How much an explicit step of diffusion in two dimensions may do."""

from __future__ import annotations

import warnings

from zotoolkit.errors import CFLWarning

STABLE = 0.25
"""Largest stable viscosity * time step / cell area."""


def diffusion_amount(viscosity: float, dt: float, spacing: float) -> float:
    """Return viscosity * dt / spacing^2, for a simulator that is being made.

    Warns:
        CFLWarning: If it is above `STABLE`.

    Examples:
        >>> diffusion_amount(0.5, dt=0.1, spacing=0.5)
        0.2
    """
    amount = viscosity * dt / spacing**2
    if amount > STABLE:
        warnings.warn(
            f"CFL number of diffusion is {amount:.3g}, above {STABLE}: the step is unstable. Take "
            f"dt <= {STABLE * spacing**2 / viscosity:.3g} or a coarser grid.",
            CFLWarning,
            stacklevel=3,  # the line that makes the simulator
        )
    return amount
