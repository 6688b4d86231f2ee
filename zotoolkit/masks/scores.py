"""Scores of coordinates: how much a sparse method wants each of them alive. The largest are kept."""

from __future__ import annotations

import torch
from torch import Tensor

from zotoolkit.checks import check_positive
from zotoolkit.errors import InvalidSetting, brief


def grasp_scores(x: Tensor, gradient: Tensor, shifted_gradient: Tensor, mu: float) -> Tensor:
    """Return ZO-GraSP's |S|, where S = -x * [g(x + mu g(x)) - g(x)] / mu estimates -x * (H g).

    GraSP looks at gradient flow: -x_i (H g)_i is, to first order, half the change of |g|^2 when coordinate i is set to
    0. The paper states S; the authors' code keeps the largest |S|, and so do we.

    Args:
        x: `(d,)` point.
        gradient: `(d,)` estimate g(x).
        shifted_gradient: `(d,)` estimate at x + mu g(x), on the same mini-batch.
        mu: How far along g the second point lies.

    Raises:
        InvalidSetting: If the shapes differ or mu is not positive.

    Examples:
        >>> x, hessian = torch.tensor([1.0, -2.0]), torch.tensor([3.0, 1.0])
        >>> gradient = hessian * x
        >>> grasp_scores(x, gradient, hessian * (x + 0.5 * gradient), mu=0.5).tolist()
        [9.0, 4.0]

    Source: Chen et al., DeepZero, ICLR 2024, section 4; Wang et al., GraSP, ICLR 2020.
    """
    check_positive(mu, "mu")
    for name, value in (("gradient", gradient), ("shifted_gradient", shifted_gradient)):
        if value.shape != x.shape:
            raise InvalidSetting(f"{name} must have the point's shape {tuple(x.shape)}, got {brief(value)}.")
    return (x * (shifted_gradient - gradient) / mu).abs()


def magnitude_scores(x: Tensor) -> Tensor:
    """Return |x|: a large weight matters, the oldest score there is (Han et al., NeurIPS 2015)."""
    return torch.abs(x)
