from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from problems.pde.simulators.external.case_folders import PREFIX, fresh_folder
from problems.pde.simulators.external.reaper import VARIABLE
from tests.problems.pde.simulators.external.text_files import program
from tests.problems.pde.simulators.external.watching import actions, only_linux, until, working_in
from zotoolkit.errors import CaseUnwritable


def test_folders_are_private_and_gone_in_the_end(place: Path) -> None:
    with fresh_folder(place) as first, fresh_folder(place) as second:
        assert first != second
        assert {first, second} == set(place.iterdir())
        assert first.stat().st_mode & 0o777 == 0o700
        assert first.name.startswith(f"{PREFIX}-")
        assert str(os.getpid()) in first.name.split("-")
        (first / "deep" / "er").mkdir(parents=True)
    with pytest.raises(ZeroDivisionError), fresh_folder(place):
        raise ZeroDivisionError


@only_linux
def test_an_exception_ends_what_was_started_for_the_folder(place: Path) -> None:
    process = None

    def start_and_be_interrupted() -> None:
        """As if Ctrl-C came before the process's number was known."""
        nonlocal process
        with fresh_folder(place) as folder:
            # A program of a program has the outer one's mark before its own.
            environment = {VARIABLE: f"/elsewhere\n{folder}/0"}
            command = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"]
            process = subprocess.Popen(command, cwd=folder, env=environment)
            assert until(lambda: working_in(place))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        start_and_be_interrupted()
    assert process is not None
    assert process.wait(30) == -9


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    place = tmp_path / "cases"
    place.mkdir()
    doubling = program(place)
    place.rmdir()
    with pytest.raises(CaseUnwritable, match="no case folder can be made"):
        doubling.step(torch.ones(1, 3), actions(0))
