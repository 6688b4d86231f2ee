"""Classifiers whose smoothed predictions are known in closed form, and some that misbehave."""

from __future__ import annotations

import torch
from torch import Tensor


def half_space(images: Tensor) -> Tensor:
    """Labels 1 where the first number is above 0; P(1 | x + noise) = Phi(x / sigma), so the radius tends to |x|."""
    return (images.flatten(1)[:, 0] > 0).long()


def three_way(images: Tensor) -> Tensor:
    """Scores of three classes from the first two numbers."""
    flat = images.flatten(1)
    return torch.stack((flat[:, 0], flat[:, 1], torch.zeros(len(flat))), dim=1)


class Counting:
    """Passes images on to a classifier and counts them and the calls."""

    def __init__(self, predict: object = half_space) -> None:
        self.predict_ = predict
        self.images = 0
        self.sizes: list[int] = []

    def __call__(self, images: Tensor) -> Tensor:
        self.images += len(images)
        self.sizes.append(len(images))
        return self.predict_(images)  # type: ignore[operator]
