"""Checks of hyper-parameters, one sentence each."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import TypeVar

import torch

from zotoolkit.errors import InvalidSetting, brief, did_you_mean

T = TypeVar("T", bound=str)


def check_positive(value: object, name: str) -> float:
    """Return the value as a float.

    Raises:
        InvalidSetting: If it is not a finite number above 0.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < math.inf:
        raise InvalidSetting(f"{name} must be a finite number above 0, got {brief(value)}.")
    return float(value)


def check_count(value: object, name: str, least: int = 1) -> int:
    """Return the value as an int.

    Raises:
        InvalidSetting: If it is not an integer of at least `least`.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
        raise InvalidSetting(f"{name} must be an integer of at least {least}, got {brief(value)}.")
    return int(value)


def check_least(value: object, least: float, name: str) -> float:
    """Return the value as a float.

    Raises:
        InvalidSetting: If it is not a finite number of at least `least`.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not least <= float(value) < math.inf:
        raise InvalidSetting(f"{name} must be a finite number of at least {least:g}, got {brief(value)}.")
    return float(value)


def check_momentum(value: object) -> float:
    """Return the value as a float.

    Raises:
        InvalidSetting: If it is not a number in [0, 1).
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) < 1:
        raise InvalidSetting(f"momentum must be a number in [0, 1), got {brief(value)}.")
    return float(value)


def check_fraction(value: object, name: str) -> float:
    """Return the value as a float.

    Raises:
        InvalidSetting: If it is not a number in (0, 1].
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) <= 1:
        raise InvalidSetting(f"{name} must be a number in (0, 1], got {brief(value)}.")
    return float(value)


def check_choice(value: T, choices: tuple[str, ...], name: str) -> T:
    """Return the value.

    Raises:
        InvalidSetting: If it is none of the choices; the message names the closest.
    """
    if value not in choices:
        raise InvalidSetting(
            f"{name} must be one of {', '.join(map(repr, choices))}, got {brief(value)}."
            f"{did_you_mean(str(value), choices)}"
        )
    return value


def check_device(device: torch.device | str) -> torch.device:
    """Return the device, after allocating nothing on it.

    Raises:
        InvalidSetting: If torch does not know it, or this machine or this build of torch does not have it.
    """
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError, ValueError) as error:
        raise InvalidSetting(f"device must be such as 'cpu' or 'cuda:0', got {brief(device)}.") from error
    if chosen.type == "meta":
        raise InvalidSetting("device 'meta' holds no numbers; use 'cpu' or 'cuda'.")
    try:
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InvalidSetting(f"device {str(chosen)!r} is not there ({reason}); use device='cpu'.") from error
    return chosen
