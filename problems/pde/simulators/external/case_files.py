"""How states go to a program and come back: the files that it reads and writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from typing_extensions import override

from zotoolkit.errors import InvalidSetting, brief

Array = np.ndarray[Any, Any]


class CaseFiles(Protocol):
    """Any object with these two methods."""

    def write(self, folder: Path, state: Array, params: Array) -> None:
        """Put what the program reads into its empty folder.

        Args:
            folder: The program's working folder.
            state: `(*F)`, or `(B, *F)` where a process takes several; read-only.
            params: `(k,)` or `(B, k)`; read-only.
        """
        ...

    def read(self, folder: Path) -> Array:
        """Return what the program answered, of the state's shape; an exception fails the states of this process."""
        ...


class NpyFiles(CaseFiles):
    """Each array in a file of NumPy's `.npy` format, of the states' dtype. Pickled objects are not read.

    Args:
        state: Name of the file with the state.
        params: Name of the file with the parameters, which is not written where there are none.
        after: Name of the file that the program writes.

    Raises:
        InvalidSetting: If the names are not three different ones.
    """

    def __init__(self, state: str = "state.npy", params: str = "params.npy", after: str = "after.npy") -> None:
        names = (state, params, after)
        if not all(isinstance(name, str) and name and Path(name).name == name for name in names) or len({*names}) < 3:
            raise InvalidSetting(f"NpyFiles takes three different names of files, without folders, got {brief(names)}.")
        self.state, self.params, self.after = names

    @override
    def write(self, folder: Path, state: Array, params: Array) -> None:
        np.save(folder / self.state, state, allow_pickle=False)
        if params.shape[-1]:
            np.save(folder / self.params, params, allow_pickle=False)

    @override
    def read(self, folder: Path) -> Array:
        path = folder / self.after
        if not path.is_file():  # to open a pipe of that name would wait for ever
            raise FileNotFoundError(f"there is no file {self.after}")
        # Mapped, so that no memory is asked for on the word of a header that may be wrong.
        return np.load(path, mmap_mode="r", allow_pickle=False)
