"""Each reproduction script runs its smallest setting, stops at a time limit and at SIGKILL, and goes on bit for bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

HOME = Path(__file__).resolve().parents[3] / "benchmarks" / "reproduce"
TRAINED = ("cge_against_rge", "sparsity_curve", "pruning_ratios")
MORE_TO_DO = 3


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CIFAR-10's own layout, 5 x 12 training and 20 test images of noise."""
    folder = tmp_path_factory.mktemp("data")
    home = folder / "cifar-10-batches-bin"
    home.mkdir()
    for number, (name, count) in enumerate([*((f"data_batch_{i}", 12) for i in range(1, 6)), ("test_batch", 20)]):
        table = np.random.default_rng(number).integers(0, 256, (count, 1 + 3072)).astype(np.uint8)
        table[:, 0] = np.arange(count) % 10
        table.tofile(home / f"{name}.bin")
    return folder


class Whole(dict[str, Path]):
    """The results of scripts that nobody stopped, by script; each is run when it is first asked for."""

    def __init__(self, images: Path, home: Path) -> None:
        super().__init__()
        self.images, self.home = images, home

    def __missing__(self, script: str) -> Path:
        done = call(script, self.images, self.home / script)
        assert done.returncode == 0, done.stderr
        self[script] = self.home / script
        return self[script]


@pytest.fixture(scope="module")
def whole(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return Whole(images, tmp_path_factory.mktemp("whole"))


def command(script: str, images: Path, out: Path, *arguments: str) -> list[str]:
    given = ("--quick", "--folder", str(images), "--out", str(out), "--data-name", "noise", *arguments)
    return [sys.executable, str(HOME / f"{script}.py"), *given]


def call(script: str, images: Path, out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(script, images, out, *arguments), capture_output=True, text=True, check=False)


def table(out: Path) -> dict[str, Any]:
    (path,) = out.glob("*.json")
    return json.loads(path.read_text(encoding="utf-8"))


def figures(out: Path) -> dict[str, tuple[Any, ...]]:
    """What must be the same however often a run was stopped."""
    return {
        run["name"]: (run["losses"], run["metrics"], run["true_loss"], run["queries"], run["settings"])
        for run in table(out)["runs"]
    }


@pytest.mark.parametrize("script", [*TRAINED, "feature_reuse"])
def test_results_state_what_they_are(script: str, whole: Whole) -> None:
    written = table(whole[script])
    assert written["complete"] is True
    assert written["setting"] == "quick"
    assert written["data"] == "noise"
    assert written["device"] == "cpu"
    assert written["environment"]["processor"]
    assert written["environment"]["versions"]["torch"]
    assert "DeepZero" in written["paper"]
    assert all(row for found in written["tables"] for row in found["rows"])
    for run in written["runs"]:
        assert run["finished"].endswith("+00:00")
        assert run["hardware"].endswith(", cpu")
        assert run["network"]["batch_size"]
        if script in TRAINED:
            assert run["queries"] == run["before"] + run["iterations"] * run["each"]
            assert run["cpu_seconds"] > 0
            assert run["wall_seconds"] > 0
            assert run["seed"] in (0, 1, 100)


@pytest.mark.parametrize("script", TRAINED)
def test_killed_and_stopped_again_and_again(script: str, images: Path, whole: Whole, tmp_path: Path) -> None:
    process = subprocess.Popen(command(script, images, tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and len(list(tmp_path.glob("runs/*/*/checkpoint.safetensors"))) < 3:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    limited = call(script, images, tmp_path, "--time-limit", "1e-9")
    assert limited.returncode == MORE_TO_DO, limited.stderr
    assert "the same command goes on" in limited.stdout
    done = call(script, images, tmp_path)
    assert done.returncode == 0, done.stderr
    assert figures(tmp_path) == figures(whole[script])


PIECE = """
import sys
sys.path.insert(0, {home!r})
import experiment, pruning_ratios
left = {steps}
def check_time(self):
    global left
    left -= 1
    if left < 0:
        raise experiment.TimeUp
experiment.Options.check_time = check_time
sys.exit(experiment.main(pruning_ratios.EXPERIMENT, sys.argv[1:]))
"""


def test_runs_made_of_pieces_are_the_whole_ones(images: Path, whole: Whole, tmp_path: Path) -> None:
    _, _, *arguments = command("pruning_ratios", images, tmp_path)
    program = PIECE.format(home=str(HOME), steps=5)
    codes = []
    while not codes or codes[-1] == MORE_TO_DO:
        codes.append(subprocess.run([sys.executable, "-c", program, *arguments], check=False).returncode)
    assert codes[-1] == 0
    assert len(codes) > 3
    assert figures(tmp_path) == figures(whole["pruning_ratios"])


def test_a_finished_experiment_is_only_read(images: Path, whole: Whole, tmp_path: Path) -> None:
    (path,) = whole["pruning_ratios"].glob("*.json")
    before = path.read_bytes()
    done = call("pruning_ratios", images, whole["pruning_ratios"])
    assert done.returncode == 0
    assert "points above random" in done.stdout
    assert path.read_bytes() == before


def test_what_cannot_be_done_is_said(images: Path, whole: Whole, tmp_path: Path) -> None:
    other = call("pruning_ratios", images, whole["pruning_ratios"], "--data-name", "other images")
    assert other.returncode == 2
    assert "holds a run with other settings" in other.stderr
    absent = call("pruning_ratios", tmp_path / "nothing", tmp_path / "out")
    assert absent.returncode == 2
    assert f"there is no folder {tmp_path / 'nothing'}" in absent.stderr
    device = call("pruning_ratios", images, tmp_path / "out", "--device", "abacus")
    assert device.returncode == 2
    assert "abacus" in device.stderr


def test_figures_are_drawn(images: Path, whole: Whole, tmp_path: Path) -> None:
    for script in ("cge_against_rge", "sparsity_curve"):
        done = call(script, images, whole[script], "--plot", str(tmp_path / f"{script}.png"))
        assert done.returncode == 0, done.stderr
        assert (tmp_path / f"{script}.png").read_bytes().startswith(b"\x89PNG")


def test_the_papers_settings_have_the_papers_numbers_of_queries() -> None:
    program = (
        "import sys, json; sys.path.insert(0, {home!r})\n"
        "import cge_against_rge, sparsity_curve, pruning_ratios, feature_reuse\n"
        "plans = [m.EXPERIMENT.plan('paper', {{}}) for m in (cge_against_rge, sparsity_curve, pruning_ratios)]\n"
        "timed = [task.network.label for task in feature_reuse.EXPERIMENT.plan('paper', {{}})]\n"
        "print(json.dumps([*[[(t.method, t.each, t.iterations) for t in plan] for plan in plans], timed]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program.format(home=str(HOME))], capture_output=True, text=True, check=True
    )
    estimators, sparse, scores, timed = json.loads(done.stdout)
    assert {(method, each) for method, each, _ in estimators} == {
        (method, 1 if method == "first-order" else dim + 1)
        for method in ("first-order", "CGE", "RGE")
        for dim in (730, 3_700, 6_670, 9_640, 12_610)
    }
    assert sparse == [
        ["first-order", 1, 9_750],
        *(["DeepZero", alive + 1, 9_750] for alive in (4_069, 14_803, 28_220, 55_053)),
    ]
    assert [method for method, _, _ in scores] == ["zo-grasp", "magnitude", "random"] * 3
    assert timed == ["CNN-1", "CNN-2", "CNN-3", "CNN-4", "CNN-5", "ResNet-20"]
