"""The suite that third parties inherit: passes on good objectives, fails on broken ones, needs nothing of this repo."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import zotoolkit
from zotoolkit import BlackBoxObjective
from zotoolkit.testing import ObjectiveConformance
from zotoolkit.wrappers import BudgetLimit, Cache, Noise, Retry

HERE = Path(__file__).parent


class TestACallable(ObjectiveConformance):
    def make_objective(self) -> BlackBoxObjective:
        return zotoolkit.from_callable(lambda x: float((x**2).sum()), dim=4, low=-1, high=2)


class TestABatchedTorchCallableInFloat32(ObjectiveConformance):
    def make_objective(self) -> BlackBoxObjective:
        return zotoolkit.from_callable(
            lambda x: (x**2).sum(dim=1), dim=4, batched=True, library="torch", dtype="float32"
        )


class TestThreads(ObjectiveConformance):
    def make_objective(self) -> BlackBoxObjective:
        return zotoolkit.from_callable(lambda x: float((x**2).sum()), dim=4, workers=2)


class TestAStackOfWrappers(ObjectiveConformance):
    def make_objective(self) -> BlackBoxObjective:
        inner = zotoolkit.from_callable(lambda x: float((x**2).sum()), dim=4)
        return BudgetLimit(Retry(Cache(Noise(inner, std=0.1))), 10_000)


SUITE = """
import importlib.util, warnings
import pytest
from zotoolkit.testing import ObjectiveConformance

spec = importlib.util.spec_from_file_location("broken_objectives", {path!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)

class TestGood(ObjectiveConformance):
    def make_objective(self):
        return module.Good()

for _, cls in module.BROKEN:
    def make_objective(self, cls=cls):
        return cls()
    name = "Test" + cls.__name__
    globals()[name] = type(name, (ObjectiveConformance,), dict(make_objective=make_objective))
"""


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, set[str]]]:
    """Run the suite as a third party would, and return its summary and the tests that failed, by class."""
    folder = tmp_path_factory.mktemp("third_party")
    (folder / "test_mine.py").write_text(SUITE.format(path=str(HERE / "broken_objectives.py")))
    command = [sys.executable, "-m", "pytest", "-q", "-rfE", "-p", "no:cacheprovider", "--tb=no", "test_mine.py"]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    failed: dict[str, set[str]] = {}
    for name, test in re.findall(r"^(?:FAILED|ERROR) test_mine\.py::(\w+)::(\w+)", run.stdout, flags=re.MULTILINE):
        failed.setdefault(name, set()).add(test)
    return run.stdout, failed


def test_a_good_objective_passes_and_every_broken_one_fails(outcome: tuple[str, dict[str, set[str]]]) -> None:
    text, failed = outcome
    assert "TestGood" not in failed, text
    names = re.findall(r"^class (\w+)\(Good\)", (HERE / "broken_objectives.py").read_text(), flags=re.MULTILINE)
    assert set(failed) == {f"Test{name}" for name in names}, text


@pytest.mark.parametrize(
    ("name", "test"),
    [
        ("StartsOutside", "test_reset"),
        ("TooFewLosses", "test_answers"),
        ("WritesThroughNumpy", "test_inputs_are_not_written_into"),
        ("DrawsAnew", "test_purity"),
        ("ComparesItsRows", "test_rows_are_independent"),
        ("WrongCoordinates", "test_fast_paths_agree_with_the_dense_path"),
        ("ForgetsTheMask", "test_fast_paths_agree_with_the_dense_path"),
        ("TensorMetrics", "test_costs_metrics_and_noise_free_losses"),
    ],
)
def test_the_test_that_fails_says_which_promise(outcome: tuple[str, dict[str, set[str]]], name: str, test: str) -> None:
    assert test in outcome[1][f"Test{name}"]


def test_importing_zotoolkit_imports_no_pytest() -> None:
    program = "import sys, zotoolkit; sys.exit('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
