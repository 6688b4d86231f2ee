"""Making reference data: what is made, what is kept, and what is left when it is interrupted."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from problems.pde.references import References, make_references
from problems.pde.simulators import Burgers, KuramotoSivashinsky, Simulator, downsample, from_step, rollout
from zotoolkit.errors import CFLWarning, InvalidSetting, InvalidState

DOUBLE = torch.float64


class Steps:
    """A progress function that remembers, and may stop everything."""

    def __init__(self, stop: int | None = None) -> None:
        self.seen: list[tuple[int, int]] = []
        self._stop = stop

    def __call__(self, done: int, total: int) -> None:
        self.seen.append((done, total))
        if done == self._stop:
            raise KeyboardInterrupt


def coarsen(states: Tensor) -> Tensor:
    return downsample(states, 16)


def start(fine: Simulator, seed: int, viscosities: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    params = torch.tensor(viscosities, dtype=DOUBLE)[:, None]
    assert isinstance(fine, Burgers)
    return fine.start(len(params), seed=seed, dtype=DOUBLE), params


def made(**changes: Any) -> References:
    fine = Burgers(points=16, dt=0.05).finer(substeps=4)
    splits = {"train": (0.1, 0.2), "validation": (0.3,), "test": (0.15, 0.25, 0.35)}
    given = {name: start(fine, seed, values) for seed, (name, values) in enumerate(splits.items())}
    settings: dict[str, Any] = {"fine": fine, **given, "frames": 4, "dt": 0.05, "coarsen": coarsen, "progress": False}
    return make_references(**{**settings, **changes})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZOTOOLKIT_CACHE", str(tmp_path))
    return tmp_path / "pde"


@pytest.mark.parametrize(("spin_up", "every"), [(0, 1), (3, 1), (43, 2)])
def test_they_are_the_fine_run_seen_by_the_coarse_grid(spin_up: int, every: int) -> None:
    fine = Burgers(points=16, dt=0.05).finer(substeps=4)
    states, params = start(fine, 2, (0.15, 0.25, 0.35))
    path = rollout(fine, states, params, spin_up + 3 * every)[spin_up::every]
    references = made(spin_up=spin_up, every=every, dt=every * 0.05)
    assert references.test.states.dtype == torch.float32
    torch.testing.assert_close(references.test.states, coarsen(path).transpose(0, 1).float(), rtol=0, atol=1e-6)
    torch.testing.assert_close(references.test.params.double(), params)
    assert references.dt == every * 0.05
    assert not references.test.states.requires_grad


def test_the_same_grid_needs_no_coarsening() -> None:
    fine = from_step(lambda state: state / 2, fields=(3,), batched=True)
    one = (torch.ones(1, 3), None)
    references = make_references(fine, one, one, one, frames=3, dt=1.0)
    assert references.train.states[0, :, 0].tolist() == [1.0, 0.5, 0.25]
    assert references.settings["params"] == {"train": [[]], "validation": [[]], "test": [[]]}


def test_two_runs_agree_to_the_bit() -> None:
    assert torch.equal(made().train.states, made().train.states)
    assert made(dtype=DOUBLE).train.states.dtype == DOUBLE


def test_progress_counts_fine_steps() -> None:
    steps = Steps()
    made(spin_up=2, every=3, progress=steps)
    assert steps.seen == [(done, 11) for done in range(1, 12)]


def test_a_bar_appears_only_when_it_takes_long(capsys: pytest.CaptureFixture[str]) -> None:
    made(progress=None)
    assert capsys.readouterr().err == ""


def test_without_a_key_nothing_is_kept(folder: Path) -> None:
    made()
    made(key={"a": 1}, cache=False)
    assert not folder.exists()


def test_what_was_made_is_found(folder: Path) -> None:
    first, steps = made(key={"version": 1}), Steps()
    again = made(key={"version": 1}, progress=steps)
    assert not steps.seen
    for name in ("train", "validation", "test"):
        assert torch.equal(getattr(first, name).states, getattr(again, name).states)
        assert torch.equal(getattr(first, name).params, getattr(again, name).params)
    assert first.settings == again.settings
    assert (first.settings["version"], first.settings["frames"]) == (1, 4)
    assert len(list(folder.iterdir())) == 1


def test_other_settings_are_other_data(folder: Path) -> None:
    made(key={"version": 1})
    fine = Burgers(points=16, dt=0.05).finer(substeps=4)
    changes: list[dict[str, Any]] = [
        {"key": {"version": 2}},
        {"frames": 5},
        {"spin_up": 1},
        {"every": 2},
        {"dt": 0.1},
        {"dtype": DOUBLE},
        {"test": start(fine, 9, (0.15, 0.25, 0.35))},
        {"test": start(fine, 2, (0.15, 0.25, 0.36))},
    ]
    for number, change in enumerate(changes, 2):
        steps = Steps()
        made(**{"key": {"version": 1}, "progress": steps, **change})
        assert steps.seen
        assert len(list(folder.iterdir())) == number


def test_damaged_data_are_made_again(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = made(key={"version": 1})
    (path,) = folder.glob("*/*")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with caplog.at_level(logging.WARNING, "zotoolkit"):
        again = made(key={"version": 1})
    assert len(caplog.records) == 1
    assert "it is made again" in caplog.text
    assert torch.equal(first.train.states, again.train.states)
    steps = Steps()
    made(key={"version": 1}, progress=steps)
    assert not steps.seen


def test_an_interrupt_leaves_nothing(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        made(key={"version": 1}, progress=Steps(stop=2))
    assert not folder.exists() or not list(folder.iterdir())
    assert len(made(key={"version": 1}).test) == 3


KILLED = """
import resource, signal, sys
from tests.problems.pde.references.test_make import made

def killed(done, total):
    if done == 2 and sys.argv[1] == "making":
        signal.raise_signal(signal.SIGKILL)

if sys.argv[1] == "writing":  # the kernel ends the process at the first byte beyond the limit
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512))
made(key={"version": 1}, progress=killed)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize("moment", ["making", "writing"])
def test_a_process_killed_in_the_middle_leaves_no_entry(folder: Path, moment: str) -> None:
    root = Path(__file__).parents[4]
    run = subprocess.run([sys.executable, "-c", KILLED, moment], cwd=root, timeout=300, check=False)
    assert run.returncode == -(signal.SIGKILL if moment == "making" else signal.SIGXFSZ)
    assert not list(folder.glob("*/checkpoint.safetensors"))
    whole = made()
    steps = Steps()
    again = made(key={"version": 1}, progress=steps)
    assert steps.seen
    assert torch.equal(whole.train.states, again.train.states)


def test_a_cache_that_cannot_be_written_costs_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("ZOTOOLKIT_CACHE", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING, "zotoolkit"):
        references = made(key={"version": 1}, name="waves")
    assert len(references.train) == 2
    assert "the waves is not cached" in caplog.text


def test_a_full_disk_costs_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "none", str(disk)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, timeout=60, check=False)
    except OSError as error:
        pytest.skip(f"no small disk can be mounted: {error}")
    if done.returncode:
        pytest.skip(f"no small disk can be mounted: {done.stderr.strip()}")
    try:
        monkeypatch.setenv("ZOTOOLKIT_CACHE", str(disk))
        with caplog.at_level(logging.WARNING, "zotoolkit"):
            references = made(key={"version": 1}, frames=400)
        assert references.train.frames == 400
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert os.strerror(28) in caplog.text
        assert [path.name for path in disk.rglob("*")] == ["pde"]
    finally:
        subprocess.run(["umount", str(disk)], timeout=60, check=True)


@pytest.mark.filterwarnings("ignore::zotoolkit.errors.CFLWarning")
@pytest.mark.parametrize("spin_up", [0, 40])
def test_a_run_that_blows_up_is_an_error_and_not_kept(folder: Path, spin_up: int) -> None:
    fine = Burgers(points=16, dt=1.0)
    wild = (1000 * fine.start(2, dtype=DOUBLE), torch.full((2, 1), 0.01, dtype=DOUBLE))
    tame = (0.001 * fine.start(1, dtype=DOUBLE), torch.ones(1, 1, dtype=DOUBLE))
    with pytest.raises(InvalidState, match=r"blew up within \d+ steps: test\[0\], viscosity=0.01; test\[1\]"):
        made(fine=fine, train=tame, validation=tame, test=wild, frames=40, spin_up=spin_up, key={}, coarsen=None)
    assert not folder.exists() or not list(folder.iterdir())


def test_the_largest_finite_numbers_are_no_blow_up() -> None:
    one = (torch.full((1, 4), 3e38), None)
    same = from_step(lambda state: state.clone(), fields=(4,))
    assert float(make_references(same, one, one, one, frames=2, dt=1.0).train.states.min()) > 2.9e38


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"frames": 1}, InvalidSetting, "frames must be an integer of at least 2"),
        ({"spin_up": -1}, InvalidSetting, "spin_up"),
        ({"every": 0}, InvalidSetting, "every"),
        ({"dt": -1.0}, InvalidSetting, "dt"),
        ({"dtype": torch.float16}, InvalidSetting, "dtype must be"),
        ({"layout": "grid"}, InvalidSetting, "layout must be one of"),
        ({"layout": "staggered"}, InvalidState, "v_y first"),
        ({"key": {"a": torch.zeros(2)}}, InvalidSetting, "key must hold finite numbers"),
        ({"key": {"a": float("nan")}}, InvalidSetting, "key must hold finite numbers"),
        ({"key": 3}, InvalidSetting, "key must hold finite numbers"),
        ({"progress": 3}, InvalidSetting, "progress must be a function"),
        ({"fine": lambda state: state}, InvalidSetting, "fine must be a Simulator"),
        ({"test": torch.zeros(2, 64)}, InvalidSetting, "test must be a pair of states and params"),
        ({"test": (torch.zeros(2, 63), torch.ones(2, 1))}, InvalidState, r"takes \(B, 64\) states"),
        ({"test": (torch.zeros(2, 64), None)}, InvalidState, "viscosity"),
        ({"test": (torch.zeros(0, 64), torch.ones(0, 1))}, InvalidSetting, "one of them is empty"),
        ({"test": (torch.full((1, 64), torch.nan), torch.ones(1, 1))}, InvalidState, "must be finite"),
        ({"test": (torch.zeros(1, 64), -torch.ones(1, 1))}, InvalidState, "viscosity must be above 0"),
        ({"coarsen": lambda states: downsample(states, 15)}, InvalidSetting, "does not divide"),
        ({"coarsen": lambda states: states.flatten()}, InvalidState, "coarsen must return"),
        ({"coarsen": lambda states: states.repeat(2, 1)}, InvalidState, "one for each"),
        ({"coarsen": lambda states: states.numpy()}, InvalidState, "got an array"),
    ],
)
def test_bad_settings_are_said_before_the_run(changes: dict[str, Any], error: type[Exception], words: str) -> None:
    steps = Steps()
    with pytest.raises(error, match=words):
        made(**{"progress": steps, "spin_up": 1, **changes})
    assert len(steps.seen) in (0, 4)  # what layout the coarse states have is seen in the end


def test_fine_warnings_pass_through() -> None:
    fine = Burgers(points=16, dt=1.0)
    one = (fine.start(1), torch.ones(1, 1))
    with pytest.warns(CFLWarning):
        make_references(fine, one, one, one, frames=2, dt=1.0)


def test_chaos_runs_on_a_gpu_or_cpu_are_other_entries(folder: Path) -> None:
    fine = KuramotoSivashinsky()
    one = (fine.start(1), None)
    make_references(fine, one, one, one, frames=2, dt=0.5, key={})
    (entry,) = folder.glob("*/*")
    assert b'"device": "cpu"' in entry.read_bytes().replace(b"\\", b"")
