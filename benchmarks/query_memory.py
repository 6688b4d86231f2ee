"""Memory that a query takes at d = 1,000,000, in coordinate and seeded batches, by storage and by the process.

A solver is asked for a batch of a million queries (CGE: d + 1 of them). Counted are the bytes of all tensors that the
batch holds besides the base point that the queries share, and, in a fresh process a sample, by how much its resident
memory has grown once the batch is there. A dense batch is the baseline: one row of d float32 numbers a query.
"""

from __future__ import annotations

import ctypes
import dataclasses
import gc
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from harness import Options, Report, Row
from torch import Tensor

import zotoolkit
from zotoolkit import DenseBatch, QueryBatch, Solver

GOAL = 16.0


def run(options: Options) -> Report:
    torch.set_num_threads(1)
    dim = 10_000 if options.quick else 1_000_000
    dense_queries = 2 if options.quick else 50
    dense = _stored(DenseBatch.at(torch.zeros(dense_queries, dim, device=options.device)))
    solvers: dict[str, tuple[str, dict[str, Any]]] = {
        "coordinate (CGE)": ("ZO/SGD-CGE-v0", {}),
        "seeded, normal (RGE)": ("ZO/SGD-RGE-v0", {"q": dim, "law": "normal"}),
        "seeded, Rademacher (RGE)": ("ZO/SGD-RGE-v0", {"q": dim, "law": "rademacher"}),
        "seeded (SPSA)": ("ZO/SPSA-v0", {"q": dim // 2}),
    }
    rows: list[Row] = []
    for label, (id, settings) in solvers.items():
        stored = [_stored(_ready(id, settings, dim, options.device).ask())]
        rows.append(Row(f"{label}, storage", [dense], stored, "bytes a query", "value", GOAL))
        if options.device == "cpu" and not (options.quick and rows[1:]):
            # Ten thousand queries are too few against the pages that a process touches anyway: no goal then.
            grown = [_grown_elsewhere(id, settings, dim) for _ in range(1 if options.quick else 5)]
            goal = None if options.quick else GOAL
            rows.append(Row(f"{label}, process", [dense], grown, "bytes a query", "value", goal))
    facts = {"d": dim, "queries": "d + 1 (CGE, RGE), d (SPSA)", "dtype": "float32"}
    return Report(rows, facts, notes=[f"the dense batch had {dense_queries} queries"])


def _ready(id: str, settings: dict[str, Any], dim: int, device: str = "cpu") -> Solver:
    solver = zotoolkit.make_solver(id, **settings)
    solver.reset(zotoolkit.make_space(dim), torch.zeros(dim, device=device))
    return solver


def _stored(batch: QueryBatch) -> float:
    """Return the bytes a query of every storage the batch holds, each once, without the base point's."""
    tensors = [getattr(batch, part.name) for part in dataclasses.fields(batch) if part.name != "base"]
    storages = [tensor.untyped_storage() for tensor in tensors if isinstance(tensor, Tensor)]
    sizes = {storage.data_ptr(): storage.nbytes() for storage in storages}
    sizes.pop(batch.base.untyped_storage().data_ptr(), None)
    return sum(sizes.values()) / len(batch)


def _grown_elsewhere(id: str, settings: dict[str, Any], dim: int) -> float:
    """Return `_grown` of a fresh process, which has no freed memory to use again."""
    done = subprocess.run(
        [sys.executable, __file__, id, json.dumps(settings), str(dim)], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def _grown(id: str, settings: dict[str, Any], dim: int) -> float:
    """Return by how many bytes a query resident memory grows by a batch, without its copy of the base point."""
    torch.set_num_threads(1)
    _ready(id, {**settings, **({"q": 4} if "q" in settings else {})}, 4).ask()  # code is loaded and warm
    solver = _ready(id, settings, dim)
    before = _resident()
    batch = solver.ask()
    return (_resident() - before - batch.base.untyped_storage().nbytes()) / len(batch)


def _resident() -> int:
    """Return the process's resident bytes, after the allocator has given back what is freed (glibc keeps it)."""
    gc.collect()
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    print(_grown(sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])))
