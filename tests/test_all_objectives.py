"""Every problem that comes along keeps every promise, in both dtypes."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import zotoolkit
from problems.dnn.data import IMAGE_SETS
from zotoolkit import BlackBoxObjective, EntrySpec
from zotoolkit.problem_registry import objectives
from zotoolkit.testing import ObjectiveConformance

# Small where the default is not.
SMALL: dict[str, dict[str, Any]] = {"Functions": {"dim": 7}, "DNN": {}}
SMALL_SET = {"train_samples": 30, "test_samples": 20, "evaluation_samples": 20, "batch_size": 10}


def _ours() -> list[EntrySpec]:
    """What zotoolkit registers itself; other tests of this process may have registered more."""
    return [spec for spec in objectives.specs() if str(spec.entry_point).startswith("problems.")]


def _settings(spec: EntrySpec) -> dict[str, Any]:
    return {**SMALL.get(spec.family, {}), **(SMALL_SET if "dataset" in spec.kwargs else {})}


def _marks(spec: EntrySpec) -> list[pytest.MarkDecorator]:
    """Skip what needs data files that are not here, and depths of a network that is tested in a smaller one."""
    dataset = spec.kwargs.get("dataset")
    if dataset is not None and not IMAGE_SETS[dataset].is_there():
        return [pytest.mark.skip(reason=f"needs {IMAGE_SETS[dataset].title}, by ZOTOOLKIT_DATA or in data")]
    return [pytest.mark.skip(reason="as ResNet-20, only deeper")] if spec.kwargs.get("depth", 20) > 20 else []


def _suite(spec: EntrySpec, settings: dict[str, Any]) -> type[ObjectiveConformance]:
    class Suite(ObjectiveConformance):
        def make_objective(self) -> BlackBoxObjective:
            return zotoolkit.make(spec.id, **settings)

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
    with zotoolkit.make(spec.id, **(SMALL_SET if "dataset" in spec.kwargs else {})) as made:
        assert made.spec is not None
        assert made.spec.id == spec.id
        with zotoolkit.make(made.spec.id, **made.spec.kwargs) as again:
            assert again.space == made.space
            assert again.metadata == made.metadata


def test_there_are_problems() -> None:
    assert {spec.family for spec in _ours()} >= {"Functions", "DNN"}
