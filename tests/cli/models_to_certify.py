"""Classifiers that tests/cli/test_certify.py names on the command line."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.ensemble import RandomForestClassifier
from torch import Tensor, nn


def classify(images: Tensor) -> Tensor:
    return (images.flatten(1).sum(1) > 0).long()


class Service:
    """Has a method `predict` and can be made without arguments."""

    def predict(self, images: Tensor) -> Tensor:
        return classify(images)


class Weighted(Service):
    """Cannot be made without arguments."""

    def __init__(self, weights: Tensor) -> None:
        self.weights = weights


def make_network() -> nn.Module:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False), nn.Dropout(0.9))
    with torch.no_grad():
        network[1].weight.copy_(torch.tensor([[0.0] * 4, [1.0] * 4]))
    return network  # in training mode, as it is made


def make_forest() -> RandomForestClassifier:
    x = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    return RandomForestClassifier(3, random_state=0).fit(x, (x.sum(1) > 0).astype(int))


def broken(images: Tensor) -> Tensor:
    raise ConnectionError("the server is gone")


def floats(images: Tensor) -> Tensor:
    return classify(images).float()


def slow(images: Tensor) -> Tensor:
    """Leaves a mark for each chunk, so that a test can see it work."""
    time.sleep(0.005)
    with Path(os.environ["MARKS"]).open("ab") as file:
        file.write(b".")
    return classify(images)


def failing_factory() -> nn.Module:
    raise FileNotFoundError("weights.safetensors")


numbers = [1, 2, 3]
