"""The suite that third parties inherit: every broken query model fails it, and by the test that names the promise."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

SUITE = '''
import torch
from zotoolkit.query_models import CallableModel, QueryModel
from zotoolkit.testing import QueryModelConformance


class Good(QueryModel):
    """Scores are the images themselves."""

    def __init__(self, **settings):
        super().__init__(access="logits", classes=3, input=(3,), **settings)

    def evaluate(self, images):
        return images


class ReversesRows(Good):
    def evaluate(self, images):
        return images.flip(0)


class ComparesItsRows(Good):
    def evaluate(self, images):
        return images - images.mean(dim=0)


class DrawsAnew(Good):
    calls = 0

    def evaluate(self, images):
        DrawsAnew.calls += 1
        return images.roll(DrawsAnew.calls, dims=1)


class WritesIntoImages(Good):
    def evaluate(self, images):
        return images.mul_(2)


class RefusesNoise(Good):
    def evaluate(self, images):
        if bool((images < 0).any()):
            raise ValueError("out of range")
        return images


class IgnoresBatchSize(Good):
    def __init__(self, **settings):
        super().__init__(**settings | {"batch_size": 64})


class ForgetsItsBudget(Good):
    def __init__(self, **settings):
        settings.pop("budget", None)
        super().__init__(**settings)


for cls in (Good, *Good.__subclasses__()):
    name = "Test" + cls.__name__
    make = lambda self, cls=cls, **settings: cls(**settings)
    globals()[name] = type(name, (QueryModelConformance,), dict(make_model=make))
'''


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Run the suite as a third party would, and return the tests that failed, by class."""
    folder: Path = tmp_path_factory.mktemp("third_party")
    (folder / "test_mine.py").write_text(SUITE)
    command = [sys.executable, "-m", "pytest", "-q", "-rfE", "-p", "no:cacheprovider", "--tb=no", "test_mine.py"]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    found: dict[str, set[str]] = {"": {run.stdout}}
    for name, test in re.findall(r"^(?:FAILED|ERROR) test_mine\.py::Test(\w+)::(\w+)", run.stdout, flags=re.MULTILINE):
        found.setdefault(name, set()).add(test)
    return found


@pytest.mark.parametrize(
    ("name", "test"),
    [
        ("ReversesRows", "test_order_does_not_matter"),
        ("ComparesItsRows", "test_batches_do_not_matter"),
        ("DrawsAnew", "test_asking_again_gives_the_same"),
        ("WritesIntoImages", "test_images_are_not_written_into"),
        ("RefusesNoise", "test_noisy_images_are_answered"),
        ("IgnoresBatchSize", "test_batches_do_not_matter"),
        ("ForgetsItsBudget", "test_a_budget_is_kept_to"),
    ],
)
def test_the_test_that_fails_says_which_promise(failed: dict[str, set[str]], name: str, test: str) -> None:
    assert test in failed.get(name, set()), failed


def test_a_good_model_passes(failed: dict[str, set[str]]) -> None:
    assert "Good" not in failed, failed
    assert len(failed) == 8
