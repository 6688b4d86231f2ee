"""What a person sees while a comparison runs: a bar on a terminal, a line a cell elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

from tqdm import tqdm

from zotoolkit.compare.grid import Place


class Display:
    """Shows cells done, queries a second and time left, on standard error.

    Args:
        cells: How many cells the comparison has.
        todo: How many of them are still to be run.
        budget: Queries a cell may spend.
        shown: Whether to show anything but failures.
    """

    def __init__(self, cells: int, todo: int, budget: int, shown: bool = True) -> None:
        self._cells, self._done, self._budget = cells, cells - todo, budget
        self._shown = shown
        self._spent: dict[str, int] = {}
        self._begun: dict[str, float] = {}
        self._failed = 0
        self._bar: Any = None
        if shown and sys.stderr.isatty():
            self._bar = tqdm(
                total=todo * budget,
                unit=" queries",
                unit_scale=True,
                dynamic_ncols=True,
                file=sys.stderr,
                smoothing=0.05,
                desc=self._count(),
            )

    def progress(self, place: Place, queries: int) -> None:
        """Take in how many queries a cell has spent."""
        if place.name not in self._begun:
            self._begun[place.name] = time.monotonic()
            # What a cell had spent before it was interrupted is no part of this call's work and speed.
            self._spent[place.name] = queries
            if self._bar is not None:
                self._bar.total -= queries
        self._advance(place, queries)

    def done(self, place: Place, queries: int, value: float | None) -> None:
        """Count a cell as done, after so many queries and with this final loss."""
        self._done += 1
        self._advance(place, queries)
        self._settle(place)
        took = time.monotonic() - self._begun.get(place.name, time.monotonic())
        loss = "no loss" if value is None else f"{value:.6g}"
        self._say(f"[{self._done}/{self._cells}] {place.name}: {loss} ({took:.1f} s)", always=False)

    def failed(self, place: Place, message: str) -> None:
        """Report a cell that failed; shown even where nothing else is."""
        self._failed += 1
        self._settle(place)
        first = message.strip().splitlines()[0] if message.strip() else "no message"
        self._say(f"failed: {place.name}: {first}", always=True)

    def note(self, text: str) -> None:
        """Say something in between."""
        self._say(text, always=True)

    def close(self) -> None:
        """Leave the terminal tidy."""
        if self._bar is not None:
            self._bar.close()

    def _advance(self, place: Place, queries: int) -> None:
        since = queries - self._spent.get(place.name, 0)
        self._spent[place.name] = queries
        if self._bar is not None and since > 0:
            self._bar.update(since)

    def _settle(self, place: Place) -> None:
        """Take what a cell that has ended will not spend any more out of what is left to do."""
        if self._bar is not None:
            self._bar.total -= self._budget - self._spent.get(place.name, 0)
            self._bar.set_description(self._count())

    def _count(self) -> str:
        failed = f", {self._failed} failed" if self._failed else ""
        return f"{self._done}/{self._cells} cells{failed}"

    def _say(self, text: str, *, always: bool) -> None:
        if self._bar is not None:
            if always:
                self._bar.write(text, file=sys.stderr)
        elif always or self._shown:
            print(text, file=sys.stderr, flush=True)  # noqa: T201 - this is what the class is for
