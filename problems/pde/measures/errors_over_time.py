"""Errors of predicted trajectories, frame by frame.

All functions take `(T + 1, B, *F)` predictions and truths, as `rollout` gives them, frame 0 the common start. From its
first frame that is not finite on, a trajectory has blown up: its error is infinite from there, so the mean over
trajectories is infinite too, and the median only once half of them have blown up. `blow_up_frames` tells which ones
and when.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from zotoolkit.checks import check_choice
from zotoolkit.errors import InvalidState, brief

Average = Literal["mean", "median"]


def absolute_errors(predicted: Tensor, true: Tensor, where: Tensor | None = None) -> Tensor:
    """Return the `(T + 1, B)` mean absolute errors of each state, float64.

    Args:
        predicted: `(T + 1, B, *F)`.
        true: Of the same shape, finite.
        where: `*F` bool, the entries that count, such as `face_mask(fields)` of staggered velocities; None for all.

    Raises:
        InvalidState: If shapes do not fit or the truth is not finite.
    """
    difference, _ = _selected(predicted, true, where)
    return _infinite_after_blow_up(difference.abs().mean(2), difference)


def relative_errors(predicted: Tensor, true: Tensor, where: Tensor | None = None) -> Tensor:
    """Return the `(T + 1, B)` relative l2 errors of each state, |predicted - true| / |true|, float64.

    Where both are 0 the error is 0, where only the truth is, it is infinite. Arguments and errors as `absolute_errors`.
    """
    difference, truth = _selected(predicted, true, where)
    length, wanted = difference.norm(dim=2), truth.norm(dim=2)
    return _infinite_after_blow_up(torch.where((length == 0) & (wanted == 0), 0.0, length / wanted), difference)


def mae(predicted: Tensor, true: Tensor, where: Tensor | None = None, average: Average = "mean") -> Tensor:
    """Return the `(T + 1,)` mean absolute error over time, averaged over trajectories.

    Its mean over the first n steps is `mae(...)[1 : n + 1].mean()`.

    Args:
        predicted: `(T + 1, B, *F)`.
        true: Of the same shape, finite.
        where: `*F` bool, the entries that count; None for all.
        average: "mean" or "median" over the trajectories. A mean is infinite from where the first one blows up.

    Raises:
        InvalidState: If shapes do not fit or the truth is not finite.
        InvalidSetting: If the average is unknown.

    Examples:
        >>> true = torch.zeros(3, 2, 4)
        >>> predicted = true + torch.tensor([0.0, 0.5, 1.0])[:, None, None]
        >>> mae(predicted, true)
        tensor([0.0000, 0.5000, 1.0000], dtype=torch.float64)
        >>> predicted[2, 0, 3] = torch.nan
        >>> mae(predicted, true)
        tensor([0.0000, 0.5000,    inf], dtype=torch.float64)
    """
    return _averaged(absolute_errors(predicted, true, where), average)


def relative_l2(predicted: Tensor, true: Tensor, where: Tensor | None = None, average: Average = "mean") -> Tensor:
    """Return the `(T + 1,)` relative l2 error over time: of each trajectory, then averaged over them.

    Arguments and errors as `mae`.

    Examples:
        >>> true = torch.ones(3, 2, 4)
        >>> relative_l2(1.1 * true, true)
        tensor([0.1000, 0.1000, 0.1000], dtype=torch.float64)
    """
    return _averaged(relative_errors(predicted, true, where), average)


def blow_up_frames(predicted: Tensor) -> Tensor:
    """Return the `(B,)` first frame of each trajectory that is not finite; T + 1 where all are.

    Args:
        predicted: `(T + 1, B, *F)`.

    Raises:
        InvalidState: If predicted has another form.

    Examples:
        >>> path = torch.zeros(4, 2, 5)
        >>> path[2:, 1] = torch.inf
        >>> blow_up_frames(path)
        tensor([4, 2])
    """
    check_path(predicted, "predicted")
    wrong = ~torch.isfinite(predicted.flatten(2)).all(2)
    return torch.where(wrong.any(0), wrong.int().argmax(0), len(predicted))


def check_path(path: object, name: str) -> Tensor:
    """Return `(T + 1, B, *F)` trajectories.

    Raises:
        InvalidState: If they are none.
    """
    if not isinstance(path, Tensor) or not path.is_floating_point() or path.ndim < 3 or not path.numel():
        raise InvalidState(f"{name} must be (T + 1, B, *F) floating point, at least one state, got {brief(path)}.")
    return path


def _selected(predicted: Tensor, true: Tensor, where: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return `(T + 1, B, n)` differences and truths, float64, of the n entries that count."""
    check_path(predicted, "predicted")
    check_path(true, "true")
    if predicted.shape != true.shape:
        raise InvalidState(f"predicted and true must have one shape, got {brief(predicted)} and {brief(true)}.")
    if not bool(torch.isfinite(true).all()):
        raise InvalidState("true must be finite; only what is predicted may blow up.")
    fields = true.shape[2:]
    if where is None:
        found, truth = predicted.flatten(2), true.flatten(2)
    elif not isinstance(where, Tensor) or where.dtype != torch.bool or where.shape != fields or not bool(where.any()):
        raise InvalidState(f"where must be {tuple(fields)} bool with at least one True, got {brief(where)}.")
    else:
        found, truth = predicted[:, :, where.to(predicted.device)], true[:, :, where.to(true.device)]
    truth = truth.to(found.device, torch.float64)
    return found.double() - truth, truth


def _infinite_after_blow_up(errors: Tensor, difference: Tensor) -> Tensor:
    blown_up = (~torch.isfinite(difference).all(2)).cummax(0).values
    return torch.where(blown_up | errors.isnan(), torch.inf, errors)


def _averaged(errors: Tensor, average: Average) -> Tensor:
    check_choice(average, ("mean", "median"), "average")
    return errors.mean(1) if average == "mean" else torch.quantile(errors, 0.5, dim=1, interpolation="higher")
