"""What a comparison ran on: versions, processor, threads, device."""

from __future__ import annotations

import inspect
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from zotoolkit.compare.settings import format_value
from zotoolkit.compare.specification import Entry
from zotoolkit.registration import EntrySpec

_PACKAGES = ("torch", "numpy", "scipy", "nevergrad", "pandas", "scikit-learn", "gymnasium")


def describe_environment(device: str = "cpu", jobs: int = 1, threads: int = 1) -> dict[str, Any]:
    """Return what decides speed, and to the last digit also numbers.

    Args:
        device: That the problems run on.
        jobs: Processes side by side.
        threads: Torch threads in each.
    """
    import zotoolkit

    found: dict[str, Any] = {"zotoolkit": zotoolkit.__version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "versions": found,
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": usable_cores(),
        "jobs": jobs,
        "threads per job": threads,
        "device": _device(device),
    }


def effective_settings(entry: Entry, spec: EntrySpec) -> dict[str, str]:
    """Return every setting that an entry is made with, defaults included, as text.

    Args:
        entry: Problem or solver.
        spec: What its registry knows of it.
    """
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(spec.load()).parameters.items()
        if parameter.default is not parameter.empty
    }
    given = {**defaults, **spec.kwargs, **entry.settings}
    return {name: value if isinstance(value, str) else format_value(value) for name, value in given.items()}


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _device(device: str) -> str:
    if device.startswith("cuda") and torch.cuda.is_available():
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return device
