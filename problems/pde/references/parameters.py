"""The parameters that a split's trajectories are made with."""

from __future__ import annotations

from collections.abc import Sequence

from zotoolkit.checks import check_positive
from zotoolkit.errors import InvalidSetting, brief


def positive_numbers(values: object, split: str, *, held: str, each: str) -> list[float]:
    """Return the numbers of a split.

    Args:
        values: What was given.
        split: Its name.
        held: What it must hold, for the message, such as "viscosities".
        each: One of them, such as "viscosity".

    Raises:
        InvalidSetting: If it holds none, or one that is not positive.

    Examples:
        >>> positive_numbers((1, 2.5), "train", held="viscosities", each="viscosity")
        [1.0, 2.5]
    """
    if not isinstance(values, Sequence) or isinstance(values, str) or not len(values):
        raise InvalidSetting(f"{split} must hold {held}, at least one, got {brief(values)}.")
    return [check_positive(value, f"each {each} in {split}") for value in values]
