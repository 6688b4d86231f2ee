"""What all benchmarks share: interleaved timing, rows with a goal, a table, and a JSON file with every sample."""

from __future__ import annotations

import datetime
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import torch

PACKAGES = ("zotoolkit", "torch", "numpy", "scipy", "nevergrad", "scikit-learn", "gymnasium", "phiflow")


class Unavailable(Exception):
    """A benchmark cannot run on this machine; the message says what it lacks."""


@dataclass(frozen=True)
class Options:
    """What the command line asks for.

    Attributes:
        quick: Small sizes and few repeats: shows that the benchmark runs, and its figures mean nothing.
        device: "cpu" or "cuda".
    """

    quick: bool = False
    device: str = "cpu"

    def repeats(self, full: int) -> int:
        """Return how often to measure."""
        return 2 if self.quick else full


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        label: What is compared.
        baseline: Samples of the other side.
        ours: Samples of our side.
        unit: Of the samples.
        sense: "at least": the ratio is baseline / ours, a speed-up; "at most": ours / baseline, an overhead;
            "value": the ratio is ours alone, at most the goal.
        goal: What the ratio must reach; None for a row that only informs.
    """

    label: str
    baseline: list[float]
    ours: list[float]
    unit: str
    sense: Literal["at least", "at most", "value"]
    goal: float | None = None

    @property
    def ratio(self) -> float:
        """The comparison in one number, from medians."""
        ours, baseline = statistics.median(self.ours), statistics.median(self.baseline or [math.nan])
        if self.sense == "value":
            return ours
        return baseline / ours if self.sense == "at least" else ours / baseline

    @property
    def shortfall(self) -> float:
        """How far the goal is missed as a factor; at most 1 where it is met."""
        if self.goal is None:
            return 0.0
        return self.goal / self.ratio if self.sense == "at least" else self.ratio / self.goal

    def as_dict(self) -> dict[str, Any]:
        """Return everything for the file."""
        return {
            "label": self.label,
            "unit": self.unit,
            "sense": self.sense,
            "goal": self.goal,
            "ratio": self.ratio,
            "met": None if self.goal is None else self.shortfall <= 1,
            "baseline": _summary(self.baseline),
            "ours": _summary(self.ours),
        }


@dataclass
class Report:
    """What a benchmark found.

    Attributes:
        rows: The comparisons.
        settings: What was measured, in words and numbers.
        several: Whether the rows have goals of their own: the headline is then the worst shortfall against 1.
        missing: What belongs to the benchmark but could not be measured; the goal then counts as missed.
        notes: What a reader should know.
        clock: What the samples go by, where it is not what `alternate` takes.
    """

    rows: list[Row]
    settings: dict[str, Any]
    several: bool = False
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    clock: str | None = None

    @property
    def met(self) -> bool:
        """Whether every row that has a goal meets it and none is missing."""
        return not self.missing and all(row.shortfall <= 1 for row in self.rows)

    def headline(self) -> tuple[float, str]:
        """Return the ratio and the goal of the last line: of the row that is furthest from its goal."""
        judged = [row for row in self.rows if row.goal is not None]
        worst = max(judged, key=lambda row: row.shortfall)
        if self.several:
            return worst.shortfall, "<=1"
        return worst.ratio, f"{'>=' if worst.sense == 'at least' else '<='}{worst.goal:g}"


def alternate(
    baseline: Callable[[], Any], ours: Callable[[], Any], repeats: int, device: str = "cpu"
) -> tuple[list[float], list[float]]:
    """Time two sides in turn, after one unmeasured call each; return their seconds.

    On a CPU these are CPU seconds of this process, all its threads together: while another process has the core, none
    pass. On a GPU they are seconds by the wall clock.

    Sides take turns at going first, so that a machine that slows down or warms up favours neither.
    """
    clock = time.perf_counter if device == "cuda" else time.process_time
    baseline()
    ours()
    times: tuple[list[float], list[float]] = ([], [])
    for repeat in range(repeats):
        sides = ((0, baseline), (1, ours))
        for side, call in sides if repeat % 2 == 0 else reversed(sides):
            _wait(device)
            begun = clock()
            call()
            _wait(device)
            times[side].append(clock() - begun)
    return times


def print_table(report: Report) -> None:
    """Print the rows: medians, with the quartiles' distance to either side."""
    header = ("", "baseline", "ours", "unit", "ratio", "goal", "")
    lines: list[tuple[str, ...]] = [header]
    for row in report.rows:
        goal = "" if row.goal is None else f"{'>=' if row.sense == 'at least' else '<='} {row.goal:g}"
        verdict = "" if row.goal is None else ("met" if row.shortfall <= 1 else "MISSED")
        lines.append((row.label, _cell(row.baseline), _cell(row.ours), row.unit, f"{row.ratio:.3g}", goal, verdict))
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    for line in lines:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())
    for label in report.missing:
        print(f"NOT MEASURED: {label}")
    for note in report.notes:
        print(f"note: {note}")


def write_json(name: str, report: Report, options: Options, folder: Path) -> Path:
    """Write `folder/NAME-DEVICE.json` at once and whole; return its path."""
    ratio, goal = report.headline()
    content = {
        "benchmark": name,
        "device": options.device,
        "quick": options.quick,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "ratio": ratio,
        "goal": goal,
        "met": report.met,
        "missing": report.missing,
        "clock": report.clock or ("wall" if options.device == "cuda" else "CPU time of the process"),
        "settings": report.settings,
        "rows": [row.as_dict() for row in report.rows],
        "notes": report.notes,
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "commit": _commit(),
        "machine": _machine(options.device),
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{options.device}.json"
    scratch = path.with_suffix(".tmp")
    scratch.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    scratch.replace(path)
    return path


def _summary(samples: list[float]) -> dict[str, Any] | None:
    if not samples:
        return None
    low, high = _quartiles(samples)
    return {"median": statistics.median(samples), "quartiles": [low, high], "samples": samples}


def _quartiles(samples: list[float]) -> tuple[float, float]:
    if len(samples) < 2:
        return samples[0], samples[0]
    low, _, high = statistics.quantiles(samples, n=4, method="inclusive")
    return low, high


def _cell(samples: list[float]) -> str:
    if not samples:
        return "-"
    low, high = _quartiles(samples)
    return f"{statistics.median(samples):.4g} [{low:.4g}, {high:.4g}]"


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True, cwd=Path(__file__).parent
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()


def _machine(device: str) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
    }
    if device == "cuda":
        facts["gpu"] = torch.cuda.get_device_name()
    return facts


def _processor() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
