from __future__ import annotations

import logging
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from problems.pde.simulators import rollout
from problems.pde.simulators.external import ExternalProgram
from tests.problems.pde.simulators.external import programs
from tests.problems.pde.simulators.external.text_files import program
from tests.problems.pde.simulators.external.watching import actions, only_linux, until, working_in
from zotoolkit.errors import CaseUnwritable, InvalidSetting, InvalidState, ProgramMissing


@settings(max_examples=12)
@given(
    count=st.integers(0, 5),
    batched=st.booleans(),
    workers=st.integers(1, 3),
    most=st.sampled_from([None, 1, 2]),
    double=st.booleans(),
)
def test_every_division_among_processes_is_the_same_step(
    count: int, batched: bool, workers: int, most: int | None, double: bool
) -> None:
    dtype = torch.float64 if double else torch.float32
    state = torch.linspace(-1, 1, 3 * count, dtype=dtype).view(count, 3)
    with tempfile.TemporaryDirectory() as folder:
        doubling = program(Path(folder), batched=batched, workers=workers, states_per_process=most if batched else None)
        after = doubling.step(state, torch.zeros(count, 1, dtype=dtype))
        assert list(Path(folder).iterdir()) == []
    assert after.dtype == dtype
    assert torch.equal(after, 2 * state)
    assert doubling.state_steps == count
    assert not after.requires_grad


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (programs.EXIT, r"ended with exit code 3; it said last:\n    the residual is 1e99\n    giving up"),
        (programs.SIGNAL, "was ended by SIGSEGV and said nothing"),
        (programs.SILENT, "left no answer that can be read (FileNotFoundError: there is no after.txt)"),
        (programs.CUT, "left no answer that can be read (JSONDecodeError"),
        (programs.GARBAGE, "left no answer that can be read (UnicodeDecodeError"),
        (programs.SHAPE, "answered with an array of shape (2, 3) and dtype float64 where numbers of shape (3,)"),
        (programs.INFINITE, "answered with numbers that are not finite"),
        (programs.PIPE, "left no answer that can be read (FileNotFoundError"),
    ],
)
def test_what_goes_wrong_is_a_nan_row_and_told(
    what: int, words: str, place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    doubling = program(place, workers=2)
    with caplog.at_level(logging.WARNING, "zotoolkit"):
        after = doubling.step(torch.ones(3, 3), actions(programs.DOUBLE, what, programs.DOUBLE))
    assert after[:, 0].isnan().tolist() == [False, True, False]
    assert bool(after[1].isnan().all())
    assert torch.equal(after[[0, 2]], torch.full((2, 3), 2.0))
    (record,) = caplog.records
    message = record.getMessage()
    assert message.startswith("doubling failed for 1 of 3 states, which become NaN; row 1: the program ")
    assert words.replace(r"\n", "\n") in message
    # The next step is not asked of the row that is lost.
    assert doubling.step(after, actions(0, 0, 0))[:, 0].isnan().tolist() == [False, True, False]


def test_all_rows_may_fail(place: Path) -> None:
    after = program(place).step(torch.ones(2, 3), actions(programs.EXIT, programs.SIGNAL))
    assert bool(after.isnan().all())


def test_a_bad_state_takes_no_other_of_its_process_with_it(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = place.parent / "log"
    doubling = program(place, batched=True, workers=2, environment={"LOG": str(log)})
    what = [0] * 8
    what[5] = programs.EXIT
    with caplog.at_level(logging.WARNING, "zotoolkit"):
        after = doubling.step(torch.ones(8, 3), actions(*what))
    assert after[:, 0].isnan().nonzero().flatten().tolist() == [5]
    assert "failed for 1 of 8 states" in caplog.text
    assert sorted(int(line.split()[1]) for line in log.read_text().splitlines()) == [1, 1, 2, 2, 4, 4]
    assert doubling.state_steps == 8


def test_a_process_whose_time_is_up_is_killed_and_not_divided(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    doubling = program(place, batched=True, timeout=0.5)
    with caplog.at_level(logging.WARNING, "zotoolkit"):
        after = doubling.step(torch.ones(2, 3), actions(programs.HANG, 0))
    assert bool(after.isnan().all())
    assert "was killed: its time was up" in caplog.text


@only_linux
@pytest.mark.parametrize("what", [programs.CHILDREN, programs.DAEMON])
@pytest.mark.parametrize("stay", [False, True])
def test_children_and_daemons_end_with_their_program(what: int, stay: bool, place: Path) -> None:
    doubling = program(place, timeout=0.7 if stay else 20.0, environment={"STAY": "1"} if stay else None)
    after = doubling.step(torch.ones(1, 3), actions(what))
    assert bool(after.isnan().all()) == stay
    assert until(lambda: not working_in(place))


def test_a_chatty_program_is_read_to_its_end(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert torch.equal(program(place).step(torch.ones(1, 3), actions(programs.CHATTER)), torch.full((1, 3), 2.0))
    assert not caplog.records


def test_nan_never_reaches_the_program(place: Path) -> None:
    log = place.parent / "log"
    state = torch.ones(3, 3)
    state[1, 2] = math.nan
    after = program(place, batched=True, environment={"LOG": str(log)}).step(state, actions(0, 0, 0))
    assert after[:, 0].isnan().tolist() == [False, True, False]
    assert [int(line.split()[1]) for line in log.read_text().splitlines()] == [2]


def test_workers_run_at_once(place: Path) -> None:
    code = (
        "import os, pathlib, sys, time\n"
        "folder = pathlib.Path(os.environ['TOGETHER'])\n"
        "(folder / str(os.getpid())).touch()\n"
        "while len(list(folder.iterdir())) < 3: time.sleep(0.005)\n"
        "pathlib.Path('after.npy').write_bytes(pathlib.Path('state.npy').read_bytes())\n"
    )
    together = place.parent / "together"
    together.mkdir()
    waiting = ExternalProgram(
        [sys.executable, "-I", "-S", "-c", code],
        fields=(2,),
        workers=3,
        timeout=60.0,
        environment={"TOGETHER": str(together)},
        folder=place,
    )
    assert torch.equal(waiting.step(torch.ones(3, 2)), torch.ones(3, 2))


SHELL = """#!/bin/sh
set -e
test ! -e params.npy
test "$1" = "two words; echo"
cp state.npy after.npy
"""


def test_a_shell_script(place: Path, tmp_path: Path) -> None:
    script = tmp_path / "copy.sh"
    script.write_text(SHELL)
    with pytest.raises(ProgramMissing, match="may not be executed; chmod"):
        ExternalProgram([script], fields=(2, 3))
    script.chmod(0o700)
    copying = ExternalProgram([script, "two words; echo"], fields=(2, 3), folder=place)
    state = torch.rand(2, 2, 3)
    assert torch.equal(copying.step(state), state)
    assert repr(copying) == "<copy.sh: states (2, 3), no parameters>"
    script.unlink()
    assert bool(copying.step(state).isnan().all())


C_PROGRAM = """
#include <stdio.h>
int main(void) {
    double state[4], rate; FILE *file = fopen("state.bin", "rb");
    if (!file || fread(state, 8, 4, file) != 4 || fread(&rate, 8, 1, file) != 1) return 1;
    fclose(file);
    double after[4];
    for (int i = 0; i < 4; i++) after[i] = state[i] + rate * (state[(i + 1) % 4] - 2 * state[i] + state[(i + 3) % 4]);
    file = fopen("after.bin", "wb"); fwrite(after, 8, 4, file); return fclose(file);
}
"""


class RawFiles:
    """Bare float64 numbers, as C and Fortran write them."""

    def write(self, folder: Path, state: Any, params: Any) -> None:
        np.concatenate((state, params)).astype(np.float64).tofile(folder / "state.bin")

    def read(self, folder: Path) -> Any:
        return np.fromfile(folder / "after.bin")


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_a_compiled_program(place: Path, tmp_path: Path) -> None:
    source, binary = tmp_path / "heat.c", tmp_path / "heat"
    source.write_text(C_PROGRAM)
    subprocess.run(["cc", source, "-o", binary], check=True)
    heat = ExternalProgram([binary], fields=(4,), parameters=["rate"], files=RawFiles(), folder=place)
    state, rate = torch.rand(2, 4, dtype=torch.float64), torch.tensor([[0.1], [0.2]], dtype=torch.float64)
    path = rollout(heat, state, rate, steps=2)
    expected = state
    for _ in range(2):
        expected = expected + rate * (expected.roll(-1, 1) - 2 * expected + expected.roll(1, 1))
    torch.testing.assert_close(path[-1], expected)


@only_linux
def test_close_ends_what_runs_in_another_thread(place: Path) -> None:
    doubling = program(place, timeout=500.0)
    answers: list[torch.Tensor] = []
    thread = threading.Thread(
        target=lambda: answers.append(doubling.step(torch.ones(1, 3), actions(programs.HANG))), daemon=True
    )
    thread.start()
    assert until(lambda: working_in(place))
    doubling.close()
    thread.join(60)
    assert bool(answers[0].isnan().all())
    with doubling:
        assert doubling.step(torch.ones(1, 3), actions(0))[0, 0] == 2


def test_an_exception_of_the_file_writer_is_passed_on_and_leaves_nothing(place: Path) -> None:
    class Broken(RawFiles):
        def write(self, folder: Path, state: Any, params: Any) -> None:
            raise ZeroDivisionError("in the user's code")

    with pytest.raises(ZeroDivisionError):
        ExternalProgram(["sleep", "600"], fields=(2,), files=Broken(), folder=place).step(torch.ones(2, 2))


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root may mount a small file system")
def test_a_full_disk(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", place], capture_output=True)
    if mounted.returncode:
        pytest.skip("no file system could be mounted here")
    try:
        copying = ["cp", "state.npy", "after.npy"]
        with pytest.raises(CaseUnwritable, match=r"is the disk full\? Free some space there or name another"):
            ExternalProgram(copying, fields=(20_000,), folder=place).step(torch.ones(2, 20_000))
        assert list(place.iterdir()) == []
        with caplog.at_level(logging.WARNING, "zotoolkit"):
            after = ExternalProgram(copying, fields=(10_000,), folder=place).step(torch.ones(2, 10_000))
        assert bool(after.isnan().all())
        assert "No space left on device" in caplog.text
        assert list(place.iterdir()) == []
        fits = ExternalProgram(copying, fields=(1_000,), folder=place)
        assert torch.equal(fits.step(torch.ones(2, 1_000)), torch.ones(2, 1_000))
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"command": "solver -fast"}, InvalidSetting, "command must be a list, the executable first"),
        ({"command": []}, InvalidSetting, "command must be a list"),
        ({"command": ["cp", 3]}, InvalidSetting, "command must be a list"),
        ({"command": ["cp", "a\0b"]}, InvalidSetting, "zero bytes"),
        ({"command": ["no-such-solver"]}, ProgramMissing, "there is no executable 'no-such-solver'; install it"),
        ({"command": [Path("/nowhere/solver")]}, ProgramMissing, "there is no executable '/nowhere/solver'"),
        ({"environment": {"PATH": "/nowhere"}}, ProgramMissing, "there is no executable 'cp'"),
        ({"environment": {"OMP_NUM_THREADS": 1}}, InvalidSetting, "environment must map names to texts"),
        ({"environment": "FAST=1"}, InvalidSetting, "environment must map names to texts"),
        ({"workers": 0}, InvalidSetting, "workers must be an integer of at least 1"),
        ({"timeout": 0}, InvalidSetting, "timeout must be a finite number above 0"),
        ({"timeout": math.inf}, InvalidSetting, "timeout must be a finite number above 0"),
        ({"states_per_process": 4}, InvalidSetting, "states_per_process needs batched=True"),
        ({"states_per_process": 0, "batched": True}, InvalidSetting, "states_per_process must be an integer"),
        ({"files": "text"}, InvalidSetting, "files must have the methods write and read, got 'text' (str)"),
        ({"folder": "/nowhere/at/all"}, InvalidSetting, "folder must be there"),
        ({"folder": "/a\nb"}, InvalidSetting, "folder must not have a line break in its name"),
        ({"folder": 3}, InvalidSetting, "folder must be a path"),
        ({"fields": ()}, InvalidSetting, "fields must be the shape of one state"),
        ({"tol": -1}, InvalidSetting, "tol must be"),
    ],
)
def test_settings_that_cannot_be_used(changes: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=re.escape(words)):
        ExternalProgram(**({"command": ["cp", "state.npy", "after.npy"], "fields": (3,)} | changes))


def test_it_has_no_gradient(place: Path) -> None:
    with pytest.raises(InvalidState, match="doubling has no gradient"):
        program(place).step(torch.ones(1, 3, requires_grad=True), actions(0))
