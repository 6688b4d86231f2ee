"""CGE against RGE at equal queries, q = d, on DeepZero's CNN with 18 channels.

First-order training is beside them; mini-batches, schedule and number of steps are the same for all.

Learning rates are chosen by the loss on a tenth of the training set that is held out, with another seed and a shorter
schedule: one for first-order training, which CGE then uses as well, and one for RGE. The test set chooses nothing.
The paper's rate of RGE is a tenth of CGE's, so that is a row, too.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cells import accuracy, each, mean, percent, queries, seconds, test_loss
from experiment import Experiment, Results, Table, Task, main
from training import Network, Training

from zotoolkit.figures.canvas import canvas, check_matplotlib, finish, label_ends
from zotoolkit.figures.style import SOFT, LineStyle, styles

FIRST, CGE, RGE, TENTH = "first-order", "CGE", "RGE", "RGE, a tenth of CGE's rate"
SOLVERS = {FIRST: "Reference/SGD-v0", CGE: "ZO/SGD-CGE-v0", RGE: "ZO/SGD-RGE-v0", TENTH: "ZO/SGD-RGE-v0"}
TUNING_SEED = 100

# Test accuracy in percent and hours on an A6000; the paper's comparison of CGE and RGE.
PAPER = {
    1: ({FIRST: 42.09, CGE: 41.65, RGE: 37.53}, {CGE: 1.66, RGE: 3.02}),
    2: ({FIRST: 60.47, CGE: 59.66, RGE: 50.06}, {CGE: 12.08, RGE: 27.18}),
    3: ({FIRST: 70.69, CGE: 70.04, RGE: 65.31}, {CGE: 28.03, RGE: 66.12}),
    4: ({FIRST: 76.64, CGE: 76.07, RGE: 70.05}, {CGE: 45.22, RGE: 144.92}),
    5: ({FIRST: 77.01, CGE: 76.95, RGE: 68.38}, {CGE: 70.32, RGE: 206.28}),
}


@dataclass(frozen=True)
class Block:
    """Runs that are compared with each other.

    Attributes:
        depth: Convolutional layers.
        methods: What is run.
        iterations: Steps of a run.
        tuning: Steps of a run that tunes.
        seeds: Of the runs.
    """

    depth: int
    methods: Sequence[str]
    iterations: int
    tuning: int
    seeds: Sequence[int]


@dataclass(frozen=True)
class Size:
    """A setting.

    Attributes:
        blocks: In order.
        batch_size: Images a mini-batch.
        rates: That are tried; none to take the paper's.
        weight_decay: Of SGD.
        samples: Training images that the loss is measured on at the end.
    """

    blocks: Sequence[Block]
    batch_size: int
    rates: Sequence[float]
    weight_decay: float = 0.0
    samples: int = 2_000


SIZES = {
    "quick": Size([Block(1, (FIRST, CGE, RGE, TENTH), 3, 2, (0,))], 8, (0.03, 0.1), samples=40),
    "small": Size(
        [
            Block(1, (FIRST, CGE, RGE), 200, 80, (0, 1)),
            Block(1, (FIRST, CGE), 1_000, 400, (0, 1)),
            Block(1, (TENTH,), 200, 80, (0,)),
        ],
        batch_size=16,
        rates=(0.03, 0.1, 0.3),
    ),
    "paper": Size(
        [Block(depth, (FIRST, CGE, RGE), 50 * 195, 0, (0, 1, 2)) for depth in PAPER], 256, (), 5e-4, samples=10_000
    ),
}
PAPER_RATES = {FIRST: 1e-3, CGE: 1e-3, RGE: 1e-4}


def plan(size: str, results: Results) -> list[Task]:
    """Tune a method, then run it; block by block."""
    setting = SIZES[size]
    tasks: list[Task] = []
    for block in setting.blocks:
        for method in block.methods:
            tuning = _tuning(setting, block, method)
            tasks.extend(task for task in tuning if task not in tasks)
            if any(task.name not in results for task in tuning):
                return tasks
            rate = _rate(setting, block, method, results)
            tasks.extend(_run(setting, block, method, rate, seed) for seed in block.seeds)
    return tasks


def _run(setting: Size, block: Block, method: str, rate: float, seed: int, tuning: bool = False) -> Training:
    network = Network("CNN", block.depth, setting.batch_size, evaluation_samples=setting.samples)
    iterations = block.iterations
    if tuning:
        network, iterations = replace(network, held_out=0.1), block.tuning
    dim = network.layout.dim
    settings: dict[str, Any] = {"lr": rate, "weight_decay": setting.weight_decay}
    settings |= {"schedule": "cosine", "iterations": iterations}
    settings |= {"q": dim} if method in (RGE, TENTH) else {}
    short = {FIRST: "first-order", CGE: "cge", RGE: "rge", TENTH: "rge-tenth"}[method]
    name = f"{'tuning-' if tuning else ''}{network.label.lower()}-{iterations}-{short}-{rate:g}-seed{seed}"
    queries_a_step = 1 if method == FIRST else dim + 1
    return Training(name, method, network, SOLVERS[method], settings, iterations, queries_a_step, seed)


def _tuning(setting: Size, block: Block, method: str) -> list[Training]:
    """Return the runs that decide a method's rate; CGE takes that of first-order training."""
    tuned = RGE if method == RGE else FIRST
    return [_run(setting, block, tuned, rate, TUNING_SEED, tuning=True) for rate in setting.rates]


def _rate(setting: Size, block: Block, method: str, results: Results) -> float:
    """Return the rate with the lowest loss on what was held out; the paper's where none is tried."""
    tuning = _tuning(setting, block, method)
    if not tuning:
        return PAPER_RATES[method]
    best = min(tuning, key=lambda task: results[task.name]["metrics"]["test_loss"]).settings["lr"]
    return best / 10 if method == TENTH else best


def tables(size: str, results: Results) -> list[Table]:
    """The runs, then what was tried before."""
    setting = SIZES[size]
    rows: list[Sequence[str]] = []
    tried: list[Sequence[str]] = []
    for block in setting.blocks:
        accuracies, hours = PAPER[block.depth]
        for method in block.methods:
            runs = _of(setting, block, method, results)
            if not runs:
                continue
            cells = (accuracy(runs), each(runs), test_loss(runs), queries(runs), seconds(runs))
            theirs = (f"{figures[method]:.2f}" if method in figures else "-" for figures in (accuracies, hours))
            rate = f"{runs[0]['settings']['lr']:g}"
            rows.append((f"{runs[0]['dimension']:,}", f"{block.iterations:,}", method, rate, *cells, *theirs))
            for task in _tuning(setting, block, method):
                metrics = results[task.name]["metrics"]
                figures = (f"{metrics['test_loss']:.4f}", percent(metrics["test_accuracy"]))
                row = (f"{runs[0]['dimension']:,}", f"{task.iterations:,}", task.method, f"{task.settings['lr']:g}")
                tried.extend([(*row, *figures)] if (*row, *figures) not in tried else [])
    columns = ("d", "steps", "method", "rate", "test accuracy %", "by seed", "test loss", "queries", "CPU (wall) s")
    found = [Table(f"CGE against RGE: batch {setting.batch_size}", (*columns, "paper %", "paper h"), rows)]
    if tried:
        title = f"Rates tried: seed {TUNING_SEED}, a tenth of the training set held out"
        found.append(Table(title, ("d", "steps", "method", "rate", "held-out loss", "held-out accuracy %"), tried))
    return found


def _of(setting: Size, block: Block, method: str, results: Results) -> list[Mapping[str, Any]]:
    """Return a method's finished runs; none before its rate is known."""
    if any(task.name not in results for task in _tuning(setting, block, method)):
        return []
    rate = _rate(setting, block, method, results)
    names = (_run(setting, block, method, rate, seed).name for seed in block.seeds)
    return [results[name] for name in names if name in results]


def draw(size: str, results: Results) -> bytes:
    """Return the smallest network's training losses, averaged over seeds and twentieths of the run."""
    check_matplotlib()
    setting = SIZES[size]
    block = setting.blocks[0]
    runs = {method: _of(setting, block, method, results) for method in block.methods}
    curves = {method: _smoothed(found) for method, found in runs.items() if found}
    looks = {**styles(list(curves), references=[FIRST]), FIRST: LineStyle(SOFT, "-", "")}
    with canvas(curves) as (figure, axes):
        for method, (steps, losses) in curves.items():
            look = looks[method]
            # Behind CGE, which all but covers it.
            width, order = (5.0, 2.0) if method == FIRST else (1.8, 3.0)
            axes.plot(steps, losses, color=look.colour, linestyle=look.dashes, linewidth=width, zorder=order)
        axes.set_xlabel("iteration")
        axes.set_ylabel("mini-batch loss, averaged")
        dim = Network("CNN", block.depth, 1).layout.dim
        axes.set_title(f"CNN with d = {dim:,}: q = d queries an estimate", loc="left", fontweight="bold")
        label_ends(axes, {method: losses[-1] for method, (_, losses) in curves.items()}, looks)
        return finish(figure, ("png",), "cge-against-rge", "Loss by iteration.").files["png"]


def _smoothed(runs: Sequence[Mapping[str, Any]]) -> tuple[list[float], list[float]]:
    """Return the middles of twenty stretches of the run and the mean loss over each, over all runs."""
    losses = [mean(step) for step in zip(*(run["losses"] for run in runs), strict=True)]
    width = max(1, len(losses) // 20)
    starts = range(0, len(losses) - width + 1, width)
    return [start + (width + 1) / 2 for start in starts], [mean(losses[start : start + width]) for start in starts]


EXPERIMENT = Experiment("cge-against-rge", __doc__ or "", plan, tables, draw)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
