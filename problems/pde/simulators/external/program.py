"""A program of the user's as a simulator: any executable, in a process of its own."""

from __future__ import annotations

import logging
import os
import shutil
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from problems.pde.simulators.base import Simulator
from problems.pde.simulators.external.case_files import Array, CaseFiles, NpyFiles
from problems.pde.simulators.external.case_folders import check_parent, fresh_folder
from problems.pde.simulators.external.processes import Run, run_programs
from problems.pde.simulators.external.reaper import end_processes
from zotoolkit.checks import check_count, check_positive
from zotoolkit.errors import CaseUnwritable, InvalidSetting, ProgramMissing, brief

_LINES = 6  # of what a program said last, told in a warning

_log = logging.getLogger("zotoolkit")


class ExternalProgram(Simulator):
    """A step computed by a program, which finds the state in files and leaves the next one in a file.

    Each process runs in a fresh folder, its working directory, and in a process group of its own. When it ends, when
    its time is up, on Ctrl-C, when Python ends and, on Linux, when Python itself is killed, the folder is removed and
    what the process has started is killed. Folders that were left by a power cut are removed by the next run.

    States whose process fails become NaN and one warning is logged, with the end of what the program said. To fail is
    to end with an exit code other than 0 or by a signal, to take too long, to leave no file, half a file or a foreign
    one, numbers of another shape or such that are not finite.
    If a process of several states fails before its time is up, it is run again for either half of them, until the
    states that cannot be advanced stand alone.

    Args:
        command: The executable, found like a shell would, and its arguments; there is no shell. A `Path` among them is
            made absolute. A text is passed as it is, and a relative name in it is looked for in the fresh folder.
        fields: `*F`, the shape of one state.
        parameters: Names of the k parameters.
        batched: Whether a process takes several states.
        states_per_process: How many at most, if batched; None to divide a batch evenly among the workers.
        workers: How many processes run at once.
        timeout: Seconds that a process may take.
        environment: Variables added to those of this process.
        files: What writes and reads the files; by default `NpyFiles()`: state.npy and params.npy, after.npy.
        folder: Where the fresh folders are made; None takes the place for temporary files. In memory, such as
            /dev/shm, they are fastest.
        deterministic: Whether the same state and parameters always give the same next state.
        tol: Relative accuracy of one step beyond the rounding of its dtype, such as the tolerance of an iteration, or
            the digits of a text format.
        name: For messages; by default the executable's.

    Raises:
        InvalidSetting: If an argument cannot be used, or the system is not of the Unix kind.
        ProgramMissing: If the executable is not there or may not be run.

    Examples:
        >>> import sys
        >>> lines = "import numpy as np; np.save('after.npy', np.load('state.npy') * np.load('params.npy'))"
        >>> with ExternalProgram([sys.executable, "-c", lines], fields=(3,), parameters=["factor"]) as program:
        ...     program.step(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[2.0]]))
        tensor([[2., 4., 6.]])
    """

    def __init__(
        self,
        command: Sequence[str | os.PathLike[str]],
        *,
        fields: Sequence[int],
        parameters: Sequence[str] = (),
        batched: bool = False,
        states_per_process: int | None = None,
        workers: int = 1,
        timeout: float = 60.0,
        environment: Mapping[str, str] | None = None,
        files: CaseFiles | None = None,
        folder: str | os.PathLike[str] | None = None,
        deterministic: bool = True,
        tol: float = 0.0,
        name: str | None = None,
    ) -> None:
        super().__init__(fields, parameters, deterministic=deterministic, tol=tol)
        if os.name != "posix":
            raise InvalidSetting(
                "ExternalProgram needs process groups, which this system does not have; use from_step."
            )
        self.environment = _check_environment(environment)
        self.command = _check_command(command, self.environment)
        self.batched = bool(batched)
        if states_per_process is not None and not self.batched:
            raise InvalidSetting("states_per_process needs batched=True: else a process takes one state.")
        self.states_per_process = (
            None if states_per_process is None else check_count(states_per_process, "states_per_process")
        )
        self.workers = check_count(workers, "workers")
        self.timeout = check_positive(timeout, "timeout")
        self.files: CaseFiles = NpyFiles() if files is None else files
        if not callable(getattr(self.files, "write", None)) or not callable(getattr(self.files, "read", None)):
            raise InvalidSetting(f"files must have the methods write and read, got {brief(files)}.")
        self.name = name or Path(self.command[0]).name
        self.folder = check_parent(folder)
        self._in_use: set[Path] = set()

    @override
    def advance(self, state: Tensor, params: Tensor) -> Tensor:
        batch = _Batch(self, _read_only(state), _read_only(params))
        with fresh_folder(self.folder) as folder:
            self._in_use.add(folder)
            try:
                batch.run(folder)
            finally:
                self._in_use.discard(folder)
        if batch.failures:
            row, (failure, said) = min(batch.failures.items())
            _log.warning(
                "%s failed for %d of %d states, which become NaN; row %d: the program %s%s",
                *(self.name, len(batch.failures), len(state), row, failure, _last_lines(said)),
            )
        return torch.from_numpy(batch.after).to(state.device)

    @override
    def close(self) -> None:
        """End what runs for other threads (on Linux); their states become NaN. The simulator can be used again."""
        for folder in list(self._in_use):
            end_processes(str(folder))

    @property
    @override
    def _name(self) -> str:
        return self.name


class _Batch:
    """The states of one call on their way through the program."""

    def __init__(self, program: ExternalProgram, state: Array, params: Array) -> None:
        self.program = program
        self.state, self.params = state, params
        self.after = np.full_like(state, np.nan)
        self.failures: dict[int, tuple[str, str]] = {}
        self._halves: deque[slice] = deque()

    def run(self, folder: Path) -> None:
        count, program = len(self.state), self.program
        size = 1
        if program.batched:
            size = min(-(-count // program.workers), program.states_per_process or count)
        rows = [slice(start, min(start + size, count)) for start in range(0, count, size)]
        number = 0
        while rows:
            folders = [folder / str(number + place) for place in range(len(rows))]
            number += len(rows)
            run_programs(
                program.command,
                folders,
                workers=program.workers,
                timeout=program.timeout,
                environment={**os.environ, **program.environment},
                prepare=lambda place, rows=rows, folders=folders: self._prepare(rows[place], folders[place]),
                collect=lambda place, run, rows=rows, folders=folders: self._collect(rows[place], folders[place], run),
            )
            rows = list(self._halves)
            self._halves.clear()

    def _prepare(self, rows: slice, folder: Path) -> None:
        try:
            folder.mkdir()
            self.program.files.write(folder, self._of(self.state, rows), self._of(self.params, rows))
        except OSError as error:
            raise CaseUnwritable(
                f"the files for {self.program.name} cannot be written in {str(folder)!r} ({error}): is the disk "
                "full? Free some space there or name another folder."
            ) from error

    def _collect(self, rows: slice, folder: Path, run: Run) -> None:
        failure = run.failure or self._take(rows, folder)
        shutil.rmtree(folder, ignore_errors=True)
        if failure is None:
            return
        if rows.stop - rows.start > 1 and run.begun and not run.timed_out:
            middle = (rows.start + rows.stop) // 2
            self._halves.extend((slice(rows.start, middle), slice(middle, rows.stop)))
            return
        self.failures.update(dict.fromkeys(range(rows.start, rows.stop), (failure, run.said)))

    def _take(self, rows: slice, folder: Path) -> str | None:
        """Take the answer; return what is wrong with all of it, if something is."""
        wanted = self._of(self.state, rows)
        try:
            found = self.program.files.read(folder)
            if not isinstance(found, np.ndarray) or found.dtype.kind not in "fiu" or found.shape != wanted.shape:
                return f"answered with {brief(found)} where numbers of shape {wanted.shape} were wanted"
            with np.errstate(over="ignore"):
                found = np.array(found, dtype=wanted.dtype).reshape(rows.stop - rows.start, *self.program.fields)
        except Exception as error:  # whatever a broken file makes of its reader
            return f"left no answer that can be read ({type(error).__name__}: {error})"
        self.after[rows] = found
        for row in range(rows.start, rows.stop):
            if not np.isfinite(self.after[row]).all():
                self.after[row] = np.nan
                self.failures[row] = ("answered with numbers that are not finite", "")
        return None

    def _of(self, array: Array, rows: slice) -> Array:
        return array[rows] if self.program.batched else array[rows.start]


def _read_only(tensor: Tensor) -> Array:
    array = tensor.detach().cpu().contiguous().numpy().view()
    array.flags.writeable = False
    return array


def _last_lines(said: str) -> str:
    lines = said.splitlines()[-_LINES:]
    return "; it said last:\n    " + "\n    ".join(lines) if lines else " and said nothing"


def _check_command(command: object, environment: Mapping[str, str]) -> list[str]:
    words = list(command) if isinstance(command, Sequence) and not isinstance(command, (str, bytes)) else []
    if not words or not all(isinstance(word, (str, os.PathLike)) for word in words):
        raise InvalidSetting(
            f"command must be a list, the executable first, such as ['solver', '-fast'] (there is no shell to take it "
            f"apart), got {brief(command)}."
        )
    texts = [word if isinstance(word, str) else str(Path(word).absolute()) for word in words]
    if any("\0" in text for text in texts):
        raise InvalidSetting(f"command must not hold zero bytes, got {brief(command)}.")
    path = environment.get("PATH", os.environ.get("PATH"))
    if found := shutil.which(texts[0], path=path):
        return [str(Path(found).absolute()), *texts[1:]]
    there = Path(texts[0])
    if there.is_file():
        raise ProgramMissing(f"{texts[0]!r} may not be executed; chmod +x it, or put its interpreter in front of it.")
    raise ProgramMissing(f"there is no executable {texts[0]!r}; install it, or give its full path.")


def _check_environment(environment: object) -> dict[str, str]:
    if environment is None:
        return {}
    pairs: dict[str, str] = dict(environment) if isinstance(environment, Mapping) else {}
    texts = all(isinstance(text, str) and "\0" not in text for pair in pairs.items() for text in pair)
    if not isinstance(environment, Mapping) or not texts:
        raise InvalidSetting(
            f"environment must map names to texts, such as {{'OMP_NUM_THREADS': '1'}}, got {brief(environment)}."
        )
    return pairs
