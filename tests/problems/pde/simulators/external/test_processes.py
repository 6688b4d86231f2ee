"""Programs side by side, also where the system has no handles of processes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from problems.pde.simulators.external.processes import Run, run_programs

PROGRAM = [sys.executable, "-I", "-S", "code.py"]
ENVIRONMENT = {"PATH": "/usr/bin:/bin"}


@pytest.mark.parametrize("missing", [(), ("pidfd_open",), ("pidfd_open", "waitid")])
def test_runs_end_as_they_do(missing: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in missing:
        monkeypatch.delattr(os, name, raising=False)
    codes = ["pass", "raise SystemExit(7)", "print('hello')", "import os; os.abort()"]
    folders = [tmp_path / str(number) for number in range(len(codes))]
    prepared: list[int] = []
    runs: dict[int, Run] = {}

    def prepare(number: int) -> None:
        folders[number].mkdir()
        (folders[number] / "code.py").write_text(codes[number])
        prepared.append(number)

    run_programs(
        PROGRAM,
        folders,
        workers=2,
        timeout=100.0,
        environment=ENVIRONMENT,
        prepare=prepare,
        collect=lambda number, run: runs.update({number: run}),
    )
    assert prepared == [0, 1, 2, 3]
    assert [runs[number] for number in range(4)] == [
        Run(None),
        Run("ended with exit code 7"),
        Run(None, said="hello"),
        Run("was ended by SIGABRT"),
    ]
    (folders[0] / "code.py").write_text("import time; time.sleep(600)")
    run_programs(
        PROGRAM,
        folders[:1],
        workers=1,
        timeout=0.3,
        environment=ENVIRONMENT,
        prepare=lambda number: None,
        collect=lambda number, run: runs.update({number: run}),
    )
    assert runs[0] == Run("was killed: its time was up", timed_out=True)


def test_what_cannot_be_started_is_told(tmp_path: Path) -> None:
    runs: list[Run] = []
    run_programs(
        [str(tmp_path / "nothing")],
        [tmp_path],
        workers=1,
        timeout=1.0,
        environment=ENVIRONMENT,
        prepare=lambda number: None,
        collect=lambda number, run: runs.append(run),
    )
    assert not runs[0].begun
    assert str(runs[0].failure).startswith("could not be started: [Errno 2]")


def test_what_is_raised_is_passed_on_and_ends_all(tmp_path: Path) -> None:
    def collect(number: int, run: Run) -> None:
        raise LookupError(number)

    folders = [tmp_path / "0", tmp_path / "1"]
    for folder, code in zip(folders, ("pass", "import time; time.sleep(600)"), strict=True):
        folder.mkdir()
        (folder / "code.py").write_text(code)
    with pytest.raises(LookupError):
        run_programs(
            PROGRAM,
            folders,
            workers=2,
            timeout=600.0,
            environment=ENVIRONMENT,
            prepare=lambda number: None,
            collect=collect,
        )
