"""Peak memory of a coordinate batch on ResNet-20: 28,220 queries, 90 % sparsity, a mini-batch of 256.

In a fresh process a sample: the growth of its peak resident memory while the batch is answered. Memory depends on the
layer, and not on how many queries follow each other there; so a sample asks every layer, 8 queries each, and not all
28,220, which take minutes. What the whole batch itself takes, 12 bytes a query, is counted by `query-memory`.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import torch
from block_loop import resnet_task
from harness import Options, Report, Row
from torch.nn import functional

from zotoolkit import CoordinateBatch
from zotoolkit.engines import ReplayEngine
from zotoolkit.engines.base import Arithmetic

GOAL = 6.0
QUERIES = 28_220
_ARITHMETICS: tuple[Arithmetic, ...] = ("bfloat16", "float32")


def run(options: Options) -> Report:
    rows: list[Row] = []
    dense = QUERIES * 269_722 * 4 / 2**30
    for arithmetic in _ARITHMETICS[: 1 if options.quick else None]:
        samples = [_elsewhere(arithmetic, options) for _ in range(1 if options.quick else 2)]
        rows.append(Row(f"replay, {arithmetic}", [dense], samples, "GiB", "value", GOAL))
    settings = {"network": "ResNet-20", "batch": 8 if options.quick else 256, "queries of the batch": QUERIES}
    return Report(rows, settings, notes=["baseline: the points written out, which nobody would"])


def _elsewhere(arithmetic: str, options: Options) -> float:
    """Measure in a fresh process."""
    call = [sys.executable, str(Path(__file__)), arithmetic, "quick" if options.quick else "full", options.device]
    done = subprocess.run(call, capture_output=True, text=True, check=True, cwd=Path(__file__).parent)
    return float(json.loads(done.stdout))


def _peak(arithmetic: Arithmetic, quick: bool, device: str) -> float:
    """Return by how many GiB the peak grows while every layer is asked."""
    torch.set_num_threads(1)
    network, inputs, targets = resnet_task(8 if quick else 20, 8 if quick else 256, device)
    engine = ReplayEngine(network.train(), functional.cross_entropy, arithmetic=arithmetic)
    base = engine.layout.flatten(network)
    each = 4 if quick else 8  # more than run together
    index = torch.cat([slot.start + torch.linspace(0, slot.size - 1, each).long() for slot in engine.layout.slots])
    batch = CoordinateBatch(base=base, scale=base.new_full((len(index),), 1e-4), index=index.to(base.device))
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated() / 2**30
        engine.coordinates(batch, inputs, targets)
        return torch.cuda.max_memory_allocated() / 2**30 - before
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    engine.coordinates(batch, inputs, targets)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20


if __name__ == "__main__":
    which: Arithmetic = "bfloat16" if sys.argv[1] == "bfloat16" else "float32"
    print(json.dumps(_peak(which, sys.argv[2] == "quick", sys.argv[3])))
