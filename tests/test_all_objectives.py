"""Every problem that comes along keeps every promise, in both dtypes."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import zotoolkit
from zotoolkit import BlackBoxObjective, EntrySpec
from zotoolkit.problem_registry import objectives
from zotoolkit.testing import ObjectiveConformance

# Small where the default is not.
SMALL: dict[str, dict[str, Any]] = {"Functions": {"dim": 7}, "DNN": {}}


def _ours() -> list[EntrySpec]:
    """What zotoolkit registers itself; other tests of this process may have registered more."""
    return [spec for spec in objectives.specs() if str(spec.entry_point).startswith("problems.")]


def _suite(spec: EntrySpec, settings: dict[str, Any]) -> type[ObjectiveConformance]:
    class Suite(ObjectiveConformance):
        def make_objective(self) -> BlackBoxObjective:
            return zotoolkit.make(spec.id, **settings)

    return Suite


for _spec in _ours():
    _known = inspect.signature(_spec.load()).parameters
    for _dtype in ("float32", "float64") if "dtype" in _known else (None,):
        _settings = {**SMALL.get(_spec.family, {}), **({} if _dtype is None else {"dtype": _dtype})}
        _name = "Test" + "".join(part.capitalize() for part in (_spec.id, _dtype or ""))
        globals()[_name.replace("/", "").replace("-", "")] = _suite(_spec, _settings)


class TestANoisyFunction(ObjectiveConformance):
    def make_objective(self) -> BlackBoxObjective:
        return zotoolkit.make("Functions/RotatedRastrigin-v0", dim=4, noise=0.1)


@pytest.mark.parametrize("id", [spec.id for spec in _ours()])
def test_what_is_made_knows_how_and_can_be_made_again(id: str) -> None:
    with zotoolkit.make(id) as made:
        assert made.spec is not None
        assert made.spec.id == id
        with zotoolkit.make(made.spec.id, **made.spec.kwargs) as again:
            assert again.space == made.space
            assert again.metadata == made.metadata


def test_there_are_problems() -> None:
    assert {spec.family for spec in _ours()} >= {"Functions", "DNN"}
