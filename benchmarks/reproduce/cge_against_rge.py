"""CGE against RGE at equal queries, q = d, on DeepZero's CNN with 18 channels.

First-order training is beside them; mini-batches, schedule and number of steps are the same for all.

Learning rates are chosen by the loss on a tenth of the training set that is held out, with another seed and a shorter
schedule: one for first-order training, which CGE then uses as well, and one for RGE. The test set chooses nothing.
The paper's rate of RGE is a tenth of CGE's, so that is a row, too.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cells import accuracy, each, mean, percent, queries, seconds, test_loss
from experiment import Experiment, Results, Table, Task, main
from training import Network, Training

from zotoolkit.compare.canvas import canvas, check_matplotlib, finish, label_ends
from zotoolkit.compare.style import SOFT, styles

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
class Size:
    """A setting.

    Attributes:
        depths: Convolutional layers, and with which methods.
        batch_size: Images a mini-batch.
        iterations: Steps of a run.
        tuning: Steps of a run that tunes.
        rates: That are tried; none to take the paper's.
        seeds: Of the runs.
        weight_decay: Of SGD.
        samples: Training images that the loss is measured on at the end.
    """

    depths: Mapping[int, Sequence[str]]
    batch_size: int
    iterations: int
    tuning: int
    rates: Sequence[float]
    seeds: Sequence[int]
    weight_decay: float = 0.0
    samples: int = 2_000


SIZES = {
    "quick": Size({1: (FIRST, CGE, RGE, TENTH)}, 8, 3, 2, (0.03, 0.1), (0,), samples=40),
    "here": Size({1: (FIRST, CGE, RGE, TENTH), 2: (FIRST, CGE)}, 16, 200, 80, (0.03, 0.1, 0.3), (0, 1)),
    "paper": Size(
        dict.fromkeys(PAPER, (FIRST, CGE, RGE)),
        256,
        50 * 195,
        0,
        (),
        (0, 1, 2),
        weight_decay=5e-4,
        samples=10_000,
    ),
}
PAPER_RATES = {FIRST: 1e-3, CGE: 1e-3, RGE: 1e-4}


def plan(size: str, results: Results) -> list[Task]:
    """Tune, then run; by depth, then by method, what is besides the question last."""
    setting = SIZES[size]
    tasks: list[Task] = []
    pairs = [(depth, method) for depth, methods in setting.depths.items() for method in methods]
    for depth, method in sorted(pairs, key=lambda pair: pair[1] == TENTH):
        tuned = FIRST if method in (CGE, TENTH) else method
        if setting.rates and tuned == method:
            tasks.extend(tuning := list(_tuning(setting, depth, method)))
            if any(task.name not in results for task in tuning):
                return tasks
        rate = _rate(setting, results, depth, tuned) if setting.rates else PAPER_RATES[method]
        rate = rate / 10 if method == TENTH else rate
        tasks.extend(_run(setting, depth, method, rate, seed) for seed in setting.seeds)
    return tasks


def _run(setting: Size, depth: int, method: str, rate: float, seed: int, tuning: bool = False) -> Training:
    network = Network("CNN", depth, setting.batch_size, evaluation_samples=setting.samples)
    iterations = setting.iterations
    if tuning:
        network, iterations = replace(network, held_out=0.1), setting.tuning
    dim = network.layout.dim
    settings: dict[str, Any] = {"lr": rate, "weight_decay": setting.weight_decay}
    settings |= {"schedule": "cosine", "iterations": iterations}
    settings |= {"q": dim} if method in (RGE, TENTH) else {}
    short = {FIRST: "first-order", CGE: "cge", RGE: "rge", TENTH: "rge-tenth"}[method]
    name = f"{'tuning-' if tuning else ''}{network.label.lower()}-{short}-{rate:g}-seed{seed}"
    queries_a_step = 1 if method == FIRST else dim + 1
    return Training(name, method, network, SOLVERS[method], settings, iterations, queries_a_step, seed)


def _tuning(setting: Size, depth: int, method: str) -> Iterator[Training]:
    for rate in setting.rates:
        yield _run(setting, depth, method, rate, TUNING_SEED, tuning=True)


def _rate(setting: Size, results: Results, depth: int, method: str) -> float:
    """Return the rate with the lowest loss on what was held out."""
    runs = {task.settings["lr"]: results[task.name] for task in _tuning(setting, depth, method)}
    return min(runs, key=lambda rate: runs[rate]["metrics"]["test_loss"])


def tables(size: str, results: Results) -> list[Table]:
    """The runs, then what was tried before."""
    setting = SIZES[size]
    rows, tried = [], []
    for depth, methods in setting.depths.items():
        for method in methods:
            runs = _of(setting, results, depth, method)
            accuracies, hours = PAPER[depth]
            rate = f"{runs[0]['settings']['lr']:g}" if runs else "-"
            theirs = "-" if method not in accuracies else f"{accuracies[method]:.2f}"
            took = "-" if method not in hours else f"{hours[method]:.2f}"
            cells = (accuracy(runs), each(runs), test_loss(runs), queries(runs), seconds(runs), theirs, took)
            rows.append((f"{Network('CNN', depth, 1).layout.dim:,}", method, rate, *cells))
        for method in (FIRST, RGE):
            for task in _tuning(setting, depth, method):
                if task.name in results:
                    run = results[task.name]
                    loss, share = f"{run['metrics']['test_loss']:.4f}", percent(run["metrics"]["test_accuracy"])
                    tried.append((f"{run['dimension']:,}", method, f"{task.settings['lr']:g}", loss, share))
    columns = ("d", "method", "rate", "test accuracy %", "by seed", "test loss", "queries", "CPU (wall) s")
    title = f"CGE against RGE: {setting.iterations:,} steps, batch {setting.batch_size}, seeds {_words(setting.seeds)}"
    found = [Table(title, (*columns, "paper %", "paper h"), rows)]
    if tried:
        title = f"Rates tried: {setting.tuning} steps, seed {TUNING_SEED}, a tenth of the training set held out"
        found.append(Table(title, ("d", "method", "rate", "held-out loss", "held-out accuracy %"), tried))
    return found


def _of(setting: Size, results: Results, depth: int, method: str) -> list[Mapping[str, Any]]:
    """Return the finished runs of a method at whatever rate was chosen."""
    rates = {run["settings"]["lr"] for run in results.values() if run["method"] == method}
    tasks = (_run(setting, depth, method, rate, seed) for rate in sorted(rates) for seed in setting.seeds)
    return [results[task.name] for task in tasks if task.name in results]


def _words(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))


def draw(size: str, results: Results) -> bytes:
    """Return the smallest network's training losses, averaged over seeds and twentieths of the run."""
    check_matplotlib()
    setting = SIZES[size]
    depth = min(setting.depths)
    runs = {method: _of(setting, results, depth, method) for method in setting.depths[depth]}
    curves = {method: _smoothed(found) for method, found in runs.items() if found}
    looks = styles(list(curves), references=[FIRST])
    with canvas(curves) as (figure, axes):
        for method, (steps, losses) in curves.items():
            look = looks[method]
            # Behind CGE, which all but covers it.
            width, order = (5.0, 2.0) if method == FIRST else (1.8, 3.0)
            colour, dashes = (SOFT, "-") if method == FIRST else (look.colour, look.dashes)
            axes.plot(steps, losses, color=colour, linestyle=dashes, linewidth=width, zorder=order)
        axes.set_xlabel("iteration")
        axes.set_ylabel("mini-batch loss, averaged")
        dim = Network("CNN", depth, 1).layout.dim
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
