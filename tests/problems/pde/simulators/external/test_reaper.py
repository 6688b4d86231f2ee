"""What becomes of programs and folders when the process that they belong to ends, in whatever way."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.problems.pde.simulators.external.text_files import program
from tests.problems.pde.simulators.external.watching import actions, only_linux, until, working_in


class Owners:
    """Processes that own programs, each to end in another way."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __getitem__(self, way: str) -> tuple[int, Path]:
        return json.loads((self.folder / "processes.json").read_text())[way], self.folder / way


@pytest.fixture(scope="module")
def owners(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Owners]:
    folder = tmp_path_factory.mktemp("owners")
    command = [sys.executable, "-m", "tests.problems.pde.simulators.external.stepping", str(folder)]
    with subprocess.Popen(command, cwd=Path(__file__).parents[5]) as process:
        assert until(lambda: (folder / "processes.json").exists(), 60)
        yield Owners(folder)
        for way in ("interrupt", "kill", "kill guard"):  # whichever has not been tested here
            with contextlib.suppress(ProcessLookupError):
                os.kill(Owners(folder)[way][0], 9)
        assert process.wait(60) == 0


@pytest.mark.parametrize("way", ["interrupt", "kill", "kill guard"])
@only_linux
def test_nothing_outlives_python(way: str, owners: Owners) -> None:
    number, folder = owners[way]
    log = folder / "log"
    assert until(lambda: log.exists() and len(log.read_text().splitlines()) == 2, 60)
    # Two programs, and of each the daemon and the daemon's child.
    assert until(lambda: len(working_in(folder)) == 6)
    if way == "kill guard":
        for guard in guards(number):
            os.kill(guard, 9)
    os.kill(number, 2 if way == "interrupt" else 9)
    if way == "interrupt":
        assert until(lambda: (folder / "said").exists() and (folder / "said").read_text())
        assert (folder / "said").read_text() == "interrupted []"
        (folder / "said").unlink()
    log.unlink()
    if way == "kill guard":  # then the next start finds what is left
        assert until(lambda: state_of(number) in ("", "Z"))
        (left,) = folder.iterdir()
        assert working_in(folder)
        live = left.with_name("-".join((*left.name.split("-")[:3], str(os.getpid()), began(os.getpid()), "0a")))
        live.mkdir()
        program(folder).step(torch.ones(1, 3), actions(0))
        assert list(folder.iterdir()) == [live]
        live.rmdir()
    assert until(lambda: not working_in(folder) and not list(folder.iterdir()))


@only_linux
def test_nothing_outlives_an_interpreter_that_ends_in_the_middle(owners: Owners) -> None:
    number, folder = owners["exit"]
    assert until(lambda: state_of(number) in ("", "Z"), 60)
    assert until(lambda: not working_in(folder))
    assert [path.name for path in folder.iterdir()] == ["log"]


@only_linux
def test_a_forked_process_steps_on_its_own(owners: Owners) -> None:
    number, folder = owners["fork"]
    assert until(lambda: state_of(number) in ("", "Z"), 60)
    assert list(folder.iterdir()) == []
    (folder / "go").touch()
    assert until(lambda: (folder / "answer").exists() and (folder / "answer").read_text() == "2.0")
    assert until(lambda: sorted(path.name for path in folder.iterdir()) == ["answer", "go"])


def state_of(number: int) -> str:
    """What the kernel says a process does: "Z" once it has ended and nobody has collected it; empty once it is gone."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def began(number: int) -> str:
    return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[19]


def guards(parent: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if any(word.endswith(b"reaper.py") for word in words) and str(parent).encode() in words:
            found.append(int(path.parent.name))
    return found
