"""Runs of the wake flow: states after a spin-up, and how often vortices leave the disc."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from problems.pde.simulators.wake.flow import WakeFlow
from problems.pde.simulators.wake.geometry import DISC_RADIUS
from zotoolkit.checks import check_count, check_positive
from zotoolkit.errors import InvalidSetting, InvalidState, brief

_PADDING = 16  # zeros appended, so that the spectrum's peak is found between the frequencies of the bare signal


def spin_up(
    flow: WakeFlow,
    reynolds: Sequence[float],
    steps: int = 1000,
    *,
    poke: float | Tensor = 1.0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], object] | None = None,
) -> tuple[Tensor, Tensor]:
    """Run from the initial state until the wake has developed; all Reynolds numbers at once, without gradients.

    Args:
        flow: What advances the states.
        reynolds: One for each state.
        steps: How many; the papers take 1,000 and then record.
        poke: See `WakeFlow.initial_state`.
        dtype: float32 or float64.
        device: Where to run.
        progress: Called after each step with the steps done and their number.

    Returns:
        `(B, 2, 2 n + 1, n + 1)` states and their `(B, 1)` params.

    Raises:
        InvalidSetting: If reynolds is no list of numbers or is empty, or steps is below 0.
        InvalidState: If a Reynolds number is not positive, or a state is not finite in the end.

    Examples:
        >>> states, params = spin_up(WakeFlow(resolution=16), [1e5, 1e6], steps=3)
        >>> states.shape, params.shape
        (torch.Size([2, 2, 33, 17]), torch.Size([2, 1]))
    """
    if not isinstance(reynolds, Sequence) or not len(reynolds):
        raise InvalidSetting(f"reynolds must hold one number a state, got {brief(reynolds)}.")
    steps = check_count(steps, "steps", 0)
    params = torch.tensor([[float(number)] for number in reynolds], dtype=dtype, device=device)
    state = flow.initial_state(len(params), poke=poke, dtype=dtype, device=device)
    with torch.no_grad():
        for done in range(1, steps + 1):
            state = flow.step(state, params)
            if progress is not None:
                progress(done, steps)
    finite = torch.isfinite(state).flatten(1).all(1)
    if not bool(finite.all()):
        raise InvalidState(
            f"the flow blew up at reynolds={[f'{value:g}' for value in params[~finite, 0].tolist()]}; take a larger "
            "Reynolds number, a smaller dt or a coarser grid."
        )
    return state, params


def strouhal_number(signal: Tensor, dt: float) -> Tensor:
    """Return the `(B,)` Strouhal numbers f D / U of signals from the wake: the disc's diameter is 20 and U = 1.

    The peak of the spectrum after a Hann window. A signal should hold five periods or more of a wake that has
    developed, such as v_x some way behind the disc's centre.

    Args:
        signal: `(T, B)`, one value a step.
        dt: Time between two of them.

    Raises:
        InvalidState: If signal is not `(T, B)` floating point with T >= 8, or not finite.

    Examples:
        >>> time = torch.arange(600)
        >>> round(float(strouhal_number(torch.sin(2 * torch.pi * 0.01 * time)[:, None], dt=1.0)), 3)
        0.2
    """
    check_positive(dt, "dt")
    if not isinstance(signal, Tensor) or not signal.is_floating_point() or signal.ndim != 2 or len(signal) < 8:
        raise InvalidState(f"signal must be (T, B) floating point with T >= 8, got {brief(signal)}.")
    if not bool(torch.isfinite(signal).all()):
        raise InvalidState("signal must be finite; leave out states that blew up.")
    window = torch.hann_window(len(signal), periodic=False, dtype=signal.dtype, device=signal.device)
    length = _PADDING * len(signal)
    spectrum = torch.fft.rfft((signal - signal.mean(0)) * window[:, None], n=length, dim=0).abs()
    return 2 * DISC_RADIUS * spectrum.argmax(0).to(signal.dtype) / (length * dt)
