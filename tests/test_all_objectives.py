"""Every problem that comes along keeps every promise, in both dtypes."""

from __future__ import annotations

import inspect
import os
from typing import Any

import pytest
import torch
from torch import nn

import zotoolkit
from problems.dnn.data import IMAGE_SETS
from zotoolkit import BlackBoxObjective, EntrySpec
from zotoolkit.engines.base import seeded_randomness
from zotoolkit.problem_registry import objectives
from zotoolkit.testing import ObjectiveConformance


def _linear_classifier() -> nn.Module:
    with seeded_randomness(0, torch.device("cpu")):
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


_CHECKPOINT = os.environ.get("ZOTOOLKIT_RESNET20", "")
_DENOISER = {"depth": 3, "width": 2, "latent": 0, "initial": "random", "batch_size": 6}
_MEASURES = {"certified_images": 10, "n": 100, "baselines": False}

# Small where the default is not: a denoiser that nothing is trained for, in front of a classifier that nothing is.
SMALL: dict[str, dict[str, Any]] = {
    "Functions": {"dim": 7},
    "DNN": {},
    "Defense/Digits-v0": {"classifier": _linear_classifier(), **_DENOISER, **_MEASURES},
    "Defense/CIFAR10-v0": {"checkpoint": _CHECKPOINT, "train_samples": 60, "sigma": 0.5, **_DENOISER, **_MEASURES},
    "PDE/WakeFlow-v0": {"resolution": 16, "factor": 2, "frames": 12, "spin_up": 3},
    "PDE/ForcedBurgers-v0": {"resolution": 16, "factor": 2, "frames": 12, "unroll": 3},
    "PDE/Smoke-v0": {"resolution": 16, "factor": 2, "frames": 12, "spin_up": 3, "unroll": 3},
}
SMALL_SET = {"train_samples": 30, "test_samples": 20, "evaluation_samples": 20, "batch_size": 10}


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reference data are made once for all tests, and neither read from nor put into the user's cache."""
    monkeypatch.setenv("ZOTOOLKIT_CACHE", str(tmp_path_factory.getbasetemp() / "zotoolkit-cache"))


def _ours() -> list[EntrySpec]:
    """What zotoolkit registers itself; other tests of this process may have registered more."""
    return [spec for spec in objectives.specs() if str(spec.entry_point).startswith("problems.")]


def _settings(spec: EntrySpec) -> dict[str, Any]:
    return {**SMALL.get(spec.id, SMALL.get(spec.family, {})), **(SMALL_SET if "dataset" in spec.kwargs else {})}


def _marks(spec: EntrySpec) -> list[pytest.MarkDecorator]:
    """Skip what needs data files that are not here, and depths of a network that is tested in a smaller one."""
    dataset = spec.kwargs.get("dataset", "cifar10" if spec.id == "Defense/CIFAR10-v0" else None)
    if spec.id == "Defense/CIFAR10-v0" and not _CHECKPOINT:
        return [pytest.mark.skip(reason="needs a classifier's checkpoint, by ZOTOOLKIT_RESNET20")]
    if dataset is not None and not IMAGE_SETS[dataset].is_there():
        return [pytest.mark.skip(reason=f"needs {IMAGE_SETS[dataset].title}, by ZOTOOLKIT_DATA or in data")]
    return [pytest.mark.skip(reason="as ResNet-20, only deeper")] if spec.kwargs.get("depth", 20) > 20 else []


def _suite(spec: EntrySpec, settings: dict[str, Any]) -> type[ObjectiveConformance]:
    class Suite(ObjectiveConformance):
        def make_objective(self) -> BlackBoxObjective:
            return zotoolkit.make(spec.id, **settings)

    if spec.family == "Defense":  # a loss without noise would take queries of the classifier, and reports must not
        return pytest.mark.filterwarnings("ignore:the loss depends on the context but noise_free returns None")(Suite)
    return Suite


for _spec in _ours():
    if _marks(_spec):  # one skip an id is enough: the one below
        continue
    _known = inspect.signature(_spec.load()).parameters
    for _dtype in ("float32", "float64") if "dtype" in _known else (None,):
        _all = {**_settings(_spec), **({} if _dtype is None else {"dtype": _dtype})}
        _name = "Test" + "".join(part.capitalize() for part in (_spec.id, _dtype or ""))
        globals()[_name.replace("/", "").replace("-", "")] = _suite(_spec, _all)


class TestANoisyFunction(ObjectiveConformance):
    def make_objective(self) -> BlackBoxObjective:
        return zotoolkit.make("Functions/RotatedRastrigin-v0", dim=4, noise=0.1)


@pytest.mark.parametrize("spec", [pytest.param(spec, marks=_marks(spec), id=spec.id) for spec in _ours()])
def test_what_is_made_knows_how_and_can_be_made_again(spec: EntrySpec) -> None:
    with zotoolkit.make(spec.id, **_settings(spec)) as made:
        assert made.spec is not None
        assert made.spec.id == spec.id
        with zotoolkit.make(made.spec.id, **made.spec.kwargs) as again:
            assert again.space == made.space
            assert again.metadata == made.metadata


def test_there_are_problems() -> None:
    assert {spec.family for spec in _ours()} >= {"Functions", "DNN", "Defense", "PDE"}
