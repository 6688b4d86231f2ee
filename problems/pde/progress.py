"""How far something that takes long has come: a callback of the caller's, or a line that appears when it takes long."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Union

from tqdm import tqdm

from zotoolkit.errors import InvalidSetting, brief

Progress = Union[Callable[[int, int], object], bool, None]
"""Called with the steps done and their number; False for none; None or True for a bar on standard error."""

_DELAY = 2.0  # seconds after which the bar appears; what is made sooner needs none
_PAUSE = 10.0  # seconds between two lines in a file


@contextmanager
def shown(progress: Progress, total: int, name: str, *, unit: str = " steps") -> Iterator[Callable[[int], None]]:
    """Give a function to call with the number of steps done.

    Args:
        progress: How to show it.
        total: Steps in all.
        name: What the bar is called.
        unit: What it counts.

    Raises:
        InvalidSetting: If progress is something else.
    """
    if progress is not None and not isinstance(progress, bool) and not callable(progress):
        raise InvalidSetting(
            f"progress must be a function of (done, total), False or None for a bar, got {brief(progress)}."
        )
    if callable(progress):
        tell = progress
        yield lambda done: (tell(done, total), None)[1]
        return
    pause = 0.1 if sys.stderr.isatty() else _PAUSE
    with tqdm(
        total=total, desc=name, unit=unit, delay=_DELAY, mininterval=pause, file=sys.stderr, disable=progress is False
    ) as bar:
        yield lambda done: (bar.update(done - bar.n), None)[1]
