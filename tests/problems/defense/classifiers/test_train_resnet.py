"""Training a residual network from the command line: kills, Ctrl-C and time limits cost nothing but time."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from problems.defense.classifiers import load_resnet
from problems.defense.classifiers.resnet_training import Recipe, TimeUp, one_cycle, train_resnet
from problems.defense.classifiers.train_resnet import main
from problems.dnn import SupervisedData, cifar10
from tests.problems.dnn.conftest import records
from zotoolkit.checkpoint import load_state
from zotoolkit.errors import CheckpointDamaged, CheckpointError, CheckpointExists, CheckpointMismatch, InvalidSetting

RECIPE: dict[str, Any] = {"depth": 8, "epochs": 8, "batch_size": 20, "lr": 0.05}
PROGRAM = [sys.executable, "-m", "problems.defense.classifiers.train_resnet"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    home = tmp_path / "cifar-10-batches-bin"
    home.mkdir()
    for number in range(1, 6):
        records(12, 1, 10, number).tofile(home / f"data_batch_{number}.bin")
    records(20, 1, 10, 9).tofile(home / "test_batch.bin")
    return tmp_path


def options(folder: Path, out: Path, **changes: Any) -> list[str]:
    pairs = {**RECIPE, "root": folder, "out": out, **changes}
    return [text for name, value in pairs.items() for text in (f"--{name.replace('_', '-')}", str(value))]


def steps_done(run: Path) -> int:
    with contextlib.suppress(CheckpointError):
        return load_state(run)[0]["step"]
    return 0


def stopped(arguments: list[str], run: Path, how: signal.Signals) -> subprocess.CompletedProcess[str]:
    """Start the command and send it a signal once it is well under way."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    try:
        while process.poll() is None and steps_done(run) < 5:
            time.sleep(0.01)
        process.send_signal(how)
        out, err = process.communicate(timeout=300)
    finally:
        process.kill()
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


@pytest.fixture
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them")
def test_kills_change_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, run = root / "net.safetensors", root / "net.safetensors.run"
    arguments = options(root, out, checkpoint_seconds=0.001)
    killed = stopped(arguments, run, signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL
    assert 5 <= steps_done(run) < 24
    before = steps_done(run)
    assert main([*arguments, "--time-limit", "0.000001"]) == 3  # one more step
    assert "the time is up; the same command goes on" in capsys.readouterr().err
    assert steps_done(run) == before + 1
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert text.startswith("ResNet-8: test accuracy ")
    assert not run.exists()
    whole = root / "whole.safetensors"
    known = train_resnet(cifar10(root), Recipe(**RECIPE), whole)
    tensors, others = load_file(out), load_file(whole)
    assert tensors.keys() == others.keys()
    assert all(torch.equal(tensor, others[name]) for name, tensor in tensors.items())
    assert f"{known['accuracy']:.2%}" in text
    assert main(arguments) == 0  # it is there: nothing is done again
    assert capsys.readouterr().out == text


@pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them")
def test_ctrl_c_leaves_a_checkpoint(root: Path) -> None:
    out, run = root / "net.safetensors", root / "net.safetensors.run"
    ended = stopped(options(root, out, epochs=200, checkpoint_seconds=0.2), run, signal.SIGINT)
    assert ended.returncode == 130, ended.stderr
    assert ended.stderr.splitlines()[-1] == "stopped; the same command goes on"
    assert "Traceback" not in ended.stderr
    assert steps_done(run) >= 5


def test_what_is_written_loads_and_has_the_accuracy(root: Path) -> None:
    out = root / "deep" / "net.safetensors"
    known = train_resnet(cifar10(root), Recipe(**{**RECIPE, "epochs": 2}), out)
    data = cifar10(root)
    assert data.test_inputs is not None
    module = load_resnet(out)
    with torch.no_grad():
        labels = module(data.test_inputs / 255).argmax(1)
    assert float((labels == data.test_targets).double().mean()) == pytest.approx(known["accuracy"])
    assert known["recipe"]["epochs"] == 2


def test_it_learns(tmp_path: Path) -> None:
    """Bright and dark images are told apart."""
    y = torch.arange(60) % 2
    x = torch.randint(0, 60, (60, 3, 16, 16), generator=torch.Generator().manual_seed(0)) + 150 * y.view(-1, 1, 1, 1)
    x = x.to(torch.uint8)
    data = SupervisedData(x[:40], y[:40], x[40:], y[40:], mean=(0.5,) * 3, std=(0.25,) * 3)
    known = train_resnet(data, Recipe(depth=8, epochs=10, batch_size=20, lr=0.05), tmp_path / "net.safetensors")
    assert known["accuracy"] == 1.0


def test_other_files_and_folders_are_said(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, data = root / "net.safetensors", cifar10(root)
    with pytest.raises(TimeUp):
        train_resnet(data, Recipe(**RECIPE), out, time_limit=1e-9)
    with pytest.raises(CheckpointMismatch, match=r"is of recipe .* this run has recipe"):
        train_resnet(data, Recipe(**{**RECIPE, "seed": 1}), out)
    with pytest.raises(CheckpointMismatch, match="is of data"):
        train_resnet(data.subset(train=40), Recipe(**RECIPE), out)
    train_resnet(data, Recipe(**{**RECIPE, "epochs": 1}), root / "done")
    with pytest.raises(CheckpointExists, match="done holds a network of another recipe"):
        train_resnet(data, Recipe(**RECIPE), root / "done")
    (root / "text").write_text("no network")
    with pytest.raises(CheckpointDamaged, match="text is damaged"):
        train_resnet(data, Recipe(**RECIPE), root / "text")
    with pytest.raises(InvalidSetting, match="data must have a test set, mean and std"):
        train_resnet(SupervisedData(data.train_inputs, data.train_targets), Recipe(**RECIPE), root / "none")
    assert main(options(root, root / "text" / "net")) == 1
    assert "train_resnet: cannot write" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"depth": 21}, "depth must be 6n + 2"),
        ({"epochs": 0}, "epochs must be an integer of at least 1"),
        ({"batch_size": 100}, "batch_size must be at most the 60 training samples"),
        ({"lr": -1}, "lr must be a finite number above 0"),
        ({"momentum": 1}, "momentum must be a number in [0, 1)"),
        ({"weight_decay": -1}, "weight_decay must be a finite number of at least 0"),
        ({"seed": -1}, "seed must be an integer in"),
        ({"device": "cuda:99"}, "device 'cuda:99' is not there"),
        ({"time_limit": 0}, "time_limit must be a finite number above 0"),
        ({"root": "nowhere"}, "there is no folder nowhere"),
    ],
)
def test_bad_options_are_one_line(
    root: Path, changes: dict[str, Any], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(options(root, root / "net.safetensors", **changes)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("train_resnet: ")
    assert words in line


def test_one_cycle_rises_and_falls() -> None:
    rates = [one_cycle(step, 101, 0.4) for step in range(101)]
    assert rates[0] == pytest.approx(0.4 / 25)
    assert rates[30] == max(rates) == pytest.approx(0.4)
    assert rates[:31] == sorted(rates[:31])
    assert rates[30:] == sorted(rates[30:], reverse=True)
    assert rates[100] == pytest.approx(0.4 / 250_000)
    for steps in (1, 2, 3):
        assert all(0 < one_cycle(step, steps, 1.0) <= 1 for step in range(steps))
