"""Feature reuse on and off: what a coordinate query costs by replay and by a whole forward pass.

The same point, mini-batch and coordinates for both, in turn, medians of several repeats, each on a mini-batch of its
own. Replay answers all coordinates of an iteration, keeping the base point's features included; the loop, whose queries
all cost the same, answers a random sample of them, and an iteration is as many times that. Losses are compared on the
way. CPU seconds on a CPU, seconds by the wall clock on a GPU.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from experiment import Experiment, Options, Results, Table, Task, main
from training import Network
from typing_extensions import override

from zotoolkit import CoordinateBatch
from zotoolkit.files import read_json, write_json
from zotoolkit.masks import LayerwiseRandomMask

MU = 5e-3
# Hours on an A6000 without and with feature reuse; of the paper's comparison of CGE and RGE.
PAPER = {1: (1.66, 0.99), 2: (12.08, 5.11), 3: (28.03, 11.39), 4: (45.22, 18.91), 5: (70.32, 28.94)}


@dataclass(frozen=True)
class Timing(Task):
    """Repeats of both ways on one network.

    Attributes:
        name: As in `Task`.
        network: What is asked.
        sparsity: Share of the weights that an iteration leaves out.
        sample: Queries of the loop.
        repeats: How often.
    """

    name: str
    network: Network
    sparsity: float
    sample: int
    repeats: int

    @override
    def description(self) -> dict[str, Any]:
        network = {key: value for key, value in asdict(self.network).items() if value is not None}
        return {"network": network, "sparsity": self.sparsity, "sample": self.sample, "repeats": self.repeats}

    @override
    def run(self, home: Path, options: Options) -> dict[str, Any]:
        found = read_json(home / "samples.json", "samples") if (home / "samples.json").exists() else {}
        samples: list[dict[str, float]] = found.get("samples", [])
        sides = {
            name: replace(self.network, engine=engine).objective(options)
            for name, engine in (("off", "loop"), ("on", "replay"))
        }
        points = {name: objective.reset(seed=0)[0] for name, objective in sides.items()}
        x, dim = points["on"], sides["on"].dim
        mask = LayerwiseRandomMask(1 - self.sparsity, layout=self.network.layout)
        alive = torch.arange(dim) if self.sparsity == 0 else mask.alive(dim, 0, 0)
        order = torch.randperm(len(alive), generator=torch.Generator().manual_seed(0))
        few = alive[order[: self.sample]].sort().values
        while len(samples) < self.repeats:
            options.check_time()
            repeat = len(samples)
            row: dict[str, float] = {}
            losses: dict[str, torch.Tensor] = {}
            for side in ("off", "on") if repeat % 2 == 0 else ("on", "off"):
                index = (alive if side == "on" else few).to(x.device)
                scale = torch.full((len(index),), MU, device=x.device)
                if repeat == 0:  # what is built at the first call is no part of an iteration
                    sides[side].step(CoordinateBatch(base=x, scale=scale[:2], context=self.repeats, index=index[:2]))
                batch = CoordinateBatch(base=x, scale=scale, context=repeat, index=index)
                begun = _clock(options.device)
                losses[side], *_ = sides[side].step(batch)
                row[side] = (_clock(options.device) - begun) / len(index)
            place = torch.searchsorted(alive, few)
            row["difference"] = float((losses["on"][place] - losses["off"].to(losses["on"])).abs().max())
            samples.append(row)
            write_json(home / "samples.json", {"samples": samples})
            print(
                f"  repeat {len(samples)}/{self.repeats}: {1e3 * row['off']:.3g} and {1e3 * row['on']:.3g} ms",
                flush=True,
            )
        return {"dimension": dim, "coordinates": len(alive), "samples": samples}


@dataclass(frozen=True)
class Size:
    """A setting.

    Attributes:
        depths: Of the CNN.
        resnet: Depth of the residual network.
        sparsity: Of its queries.
        batch_size: Images a mini-batch.
        sample: Queries of the loop.
        repeats: How often.
    """

    depths: Sequence[int]
    resnet: int
    sparsity: float
    batch_size: int
    sample: int
    repeats: int


SIZES = {
    "quick": Size((1,), 8, 0.99, 4, 3, 2),
    "small": Size(tuple(PAPER), 20, 0.99, 32, 100, 5),
    "paper": Size(tuple(PAPER), 20, 0.9, 256, 1_000, 5),
}


def plan(size: str, results: Results) -> list[Task]:
    """The CNN's sizes, then ResNet-20."""
    setting = SIZES[size]
    tasks: list[Task] = []
    for kind, depth in [*(("CNN", depth) for depth in setting.depths), ("ResNet", setting.resnet)]:
        network = Network(kind, depth, setting.batch_size, evaluation_samples=10)
        sparsity = setting.sparsity if kind == "ResNet" else 0.0
        tasks.append(Timing(network.label.lower(), network, sparsity, setting.sample, setting.repeats))
    return tasks


def tables(size: str, results: Results) -> list[Table]:
    """Medians by network, and the paper's hours."""
    setting = SIZES[size]
    columns = ("network", "coordinates", "off: queries/s", "on: queries/s", "off: s an iteration", "on: s an iteration")
    rows = []
    for run in results.values():
        off, on = (_median(run, side) for side in ("off", "on"))
        kind, depth = run["network"]["kind"], run["network"]["depth"]
        hours = PAPER[depth] if kind == "CNN" else None
        theirs = ("-", "-", "-") if hours is None else (*(f"{h:.2f}" for h in hours), f"{hours[0] / hours[1]:.2f}")
        count = run["coordinates"]
        label = f"{kind}-{depth}" + (f", {100 * run['sparsity']:g} % sparse" if run["sparsity"] else "")
        largest = max(sample["difference"] for sample in run["samples"])
        ours = (f"{1 / off:,.0f}", f"{1 / on:,.0f}", f"{off * count:.2f}", f"{on * count:.3f}", f"{off / on:.1f}")
        rows.append((label, f"{count:,}", *ours, f"{largest:.0e}", *theirs))
    title = f"Feature reuse: batch {setting.batch_size}, medians of {setting.repeats}"
    others = ("times faster", "largest difference of losses", "paper off h", "paper on h", "paper times faster")
    return [Table(title, (*columns, *others), rows)]


def _median(run: Mapping[str, Any], side: str) -> float:
    """Return the seconds of one query."""
    return statistics.median(sample[side] for sample in run["samples"])


def _clock(device: str) -> float:
    if torch.device(device).type != "cuda":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


EXPERIMENT = Experiment("feature-reuse", __doc__ or "", plan, tables)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
