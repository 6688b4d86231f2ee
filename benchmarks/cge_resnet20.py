"""Coordinate queries on ResNet-20: the replay engine against the obvious loop with block-level reuse, one core.

Every convolution weight and the linear layer's; a layer counts by its number of weights. A sample is the weighted mean
time of a query over all layers. Both sides answer the same coordinates on the same mini-batch in training mode; the
engine's own rows state its arithmetic. What is compiled is compiled before the clock starts.
"""

from __future__ import annotations

import functools
import statistics

import torch
from block_loop import BlockLoop, resnet_task
from harness import Options, Report, Row, alternate
from torch import Tensor
from torch.nn import functional

from zotoolkit import CoordinateBatch
from zotoolkit.engines import ParameterSlot, ReplayEngine
from zotoolkit.engines.base import Arithmetic

GOALS = {"cpu": 4.0, "cuda": 50.0}
MU = 1e-4
_LARGE = 10_000  # layers of so many weights decide the mean: more queries are timed there


def run(options: Options) -> Report:
    torch.set_num_threads(1)
    batch = (4 if options.quick else 64) if options.device == "cpu" else 256
    network, inputs, targets = resnet_task(8 if options.quick else 20, batch, options.device)
    baseline = BlockLoop(network, inputs, targets)
    rows: list[Row] = []
    notes: list[str] = []
    variants: tuple[tuple[str, Arithmetic, bool], ...] = (
        ("bfloat16, fused", "bfloat16", True),
        ("float32, fused", "float32", True),
        ("bfloat16, plain torch", "bfloat16", False),
    )
    peaks = {arithmetic: _convolution_peak(arithmetic, options) for arithmetic in ("bfloat16", "float32")}
    for label, arithmetic, fused in variants[: 1 if options.quick else None]:
        engine = ReplayEngine(
            network.train(), functional.cross_entropy, arithmetic=arithmetic, fused=fused and not options.quick
        )
        slots = [slot for slot in engine.layout.slots if len(slot.shape) > 1]
        base = engine.layout.flatten(network).to(options.device)
        theirs, mine = _weighted(engine, baseline, slots, base, inputs, targets, options)
        goal = GOALS[options.device] if label == "bfloat16, fused" else None
        rows.append(Row(label, theirs, mine, "ms a query", "at least", goal))
        work = _work(engine, network, inputs)
        reached = work / statistics.median(mine) / 1e6
        whole = work / _mean_share(engine)
        share = 100 * reached / peaks[arithmetic]
        notes.append(
            f"{label}: {work / 1e9:.3f} GFLOP of convolutions a query are computed (the whole network has "
            f"{whole / 1e9:.2f}), {reached:.0f} GFLOP/s, {share:.0f} % of the {peaks[arithmetic]:.0f} that a "
            "64-channel 3x3 convolution alone reaches here"
        )
    settings = {
        "network": "ResNet-20, 268,336 weights, as initialised",
        "batch": batch,
        "mu": MU,
        "threads": 1,
        "images": "noise",
        "queries a layer and sample": "baseline 2 or 4, ours 24 or 48 on a CPU, 1,024 on a GPU (of 432 to 36,864)",
    }
    return Report(rows, settings, notes=notes)


def _weighted(
    engine: ReplayEngine,
    baseline: BlockLoop,
    slots: list[ParameterSlot],
    base: Tensor,
    inputs: Tensor,
    targets: Tensor,
    options: Options,
) -> tuple[list[float], list[float]]:
    """Return samples of the mean milliseconds a query, over layers weighted by their numbers of weights."""
    repeats = options.repeats(7)
    totals = [[0.0] * repeats, [0.0] * repeats]
    weights = sum(slot.size for slot in slots)
    for slot in slots:
        large = slot.size >= _LARGE and not options.quick
        few = _spread(slot, 4 if large else 2)
        many = _spread(slot, 1024 if options.device == "cuda" else 48 if large else 24)
        step = torch.full((len(many),), MU, device=base.device)
        queries = CoordinateBatch(base=base, scale=step, index=(slot.start + many).to(base.device))
        loop = functools.partial(baseline.losses, slot.name, few.tolist(), MU)
        ours = functools.partial(engine.coordinates, queries, inputs, targets)
        times_of_both = alternate(loop, ours, repeats, options.device)
        for total, times, count in zip(totals, times_of_both, (len(few), len(many)), strict=True):
            for at, seconds in enumerate(times):
                total[at] += 1e3 * seconds / count * slot.size / weights
    return totals[0], totals[1]


def _spread(slot: ParameterSlot, count: int) -> Tensor:
    """Return entries of a parameter, runs of neighbours as a gradient estimate has them, over all of it."""
    runs = max(1, count // 8)
    starts = torch.linspace(0, max(0, slot.size - 8), runs).long()
    return (starts[:, None] + torch.arange(min(8, count))).flatten().clamp(max=slot.size - 1)


def _mean_share(engine: ReplayEngine) -> float:
    """Return the mean share of a forward pass that a query computes."""
    pairs = [
        (slot.size, share)
        for slot, share in zip(engine.layout.slots, engine.slot_costs(), strict=True)
        if len(slot.shape) > 1
    ]
    return sum(size * share for size, share in pairs) / sum(size for size, _ in pairs)


def _work(engine: ReplayEngine, network: torch.nn.Module, inputs: Tensor) -> float:
    """Return the floating-point operations of convolutions that a query takes, two a multiply-add."""
    total = 0

    def count(part: torch.nn.Module, _: object, output: Tensor) -> None:
        nonlocal total
        weight: Tensor = part.weight  # pyright: ignore[reportAssignmentType]
        total += 2 * output.numel() * (weight.numel() // len(weight))

    handles = [p.register_forward_hook(count) for p in network.modules() if isinstance(p, torch.nn.Conv2d)]
    with torch.no_grad():
        network(inputs)
    for handle in handles:
        handle.remove()
    return total * _mean_share(engine)


def _convolution_peak(arithmetic: str, options: Options) -> float:
    """Return the GFLOP/s of a 64-channel 3x3 convolution on 8x8 images, channels innermost."""
    batch = 256 if options.device == "cpu" else 8192
    dtype = getattr(torch, arithmetic)
    images = torch.randn(batch, 64, 8, 8, device=options.device).to(dtype).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(64, 64, 3, 3, device=options.device).to(dtype).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        _, times = alternate(
            lambda: None, lambda: functional.conv2d(images, weight, padding=1), options.repeats(15), options.device
        )
    return 2 * images.numel() * 64 * 9 / statistics.median(times) / 1e9
