"""A function as a query model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from zotoolkit.errors import InputMutated, InvalidSetting
from zotoolkit.query_models import CallableModel


def model(function: Any, **settings: Any) -> CallableModel:
    return CallableModel(function, **({"access": "logits", "classes": 3, "input": (3,)} | settings))


def test_functions_of_arrays_get_arrays_and_those_of_tensors_tensors() -> None:
    seen: list[Any] = []

    def keep(x: Any) -> Any:
        seen.append(x)
        return x

    x = torch.rand(4, 3)
    assert torch.equal(model(keep).scores(x), x)
    assert torch.equal(model(keep, library="torch").scores(x), x)
    assert isinstance(seen[0], np.ndarray)
    assert seen[0].dtype == np.float32
    assert isinstance(seen[1], torch.Tensor)


def test_nested_lists_are_answers_too() -> None:
    assert model(lambda x: [[1, 2, 3]] * len(x)).predict(torch.zeros(2, 3)).tolist() == [2, 2]


def test_functions_that_write_into_their_input_are_told_so() -> None:
    def write(x: Any) -> Any:
        x *= 2
        return x

    for library in ("numpy", "torch"):
        x = torch.ones(2, 3)
        with pytest.raises(InputMutated, match="write wrote into"):
            model(write, library=library).ask(x)
    with pytest.raises(InputMutated, match=r"work on images\.copy\(\)"):
        model(write).ask(torch.ones(2, 3))


def test_other_value_errors_are_failures() -> None:
    def raising(x: np.ndarray) -> np.ndarray:
        raise ValueError("not today")

    assert model(raising).ask(torch.zeros(1, 3)).errors == {0: "ValueError: not today"}


def test_names() -> None:
    def classify(x: np.ndarray) -> np.ndarray:
        return x

    class Classifier:
        def __call__(self, x: np.ndarray) -> np.ndarray:
            return x

    assert model(classify).name == "classify"
    assert model(Classifier()).name == "Classifier"
    assert model(classify, name="mine").name == "mine"


def test_bad_settings_are_refused() -> None:
    with pytest.raises(InvalidSetting, match="function must be callable, got 3"):
        model(3)
    with pytest.raises(InvalidSetting, match="library must be one of 'numpy', 'torch'"):
        model(len, library="jax")
