"""ResNet-20 trained by DeepZero at several sparsities.

With --paper: 50 epochs at each of the paper's sparsities, next to its accuracies. Otherwise, since a CPU core takes
weeks for that, what the paper's curve rests on: the training loss over the first iterations, estimated by the replay
engine in float32 and in bfloat16, and by the obvious loop, one forward pass after another at the paper's mu, from the
same seed, with the same mini-batches and the same sets of live coordinates (random ones, for scores of engines that
round differently could choose others). The loop is slow, so it follows the same schedule for fewer steps.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cells import accuracy, each, mean, queries, seconds
from experiment import Experiment, Results, Table, Task, main
from training import SCORING_QUERIES, Network, Training

from zotoolkit.figures.canvas import canvas, check_matplotlib, finish, label_ends
from zotoolkit.figures.style import styles

# Test accuracy in percent: sparse weights and sparse gradients by back-propagation, then DeepZero.
PAPER = {
    0.8: (88.59, 90.12, 86.94),
    0.9: (86.25, 88.55, 86.46),
    0.95: (82.95, 86.98, 84.26),
    0.99: (68.22, 78.1, 73.37),
}
PAPER_DENSE = 92.85
LOOP, REPLAY, NARROW = "loop", "replay", "replay bfloat16"


@dataclass(frozen=True)
class Size:
    """A setting.

    Attributes:
        depth: Of the network.
        batch_size: Images a mini-batch.
        schedule: Steps over which the rate rises and falls.
        steps: How many of them are taken, by sparsity and engine.
        seeds: Of the runs.
        samples: Training images that the loss is measured on at the end.
        test_samples: Test images; None for all.
    """

    depth: int
    batch_size: int
    schedule: int
    steps: Mapping[float, Mapping[str, int]]
    seeds: Sequence[int] = (0,)
    samples: int = 512
    test_samples: int | None = 2_000


SIZES = {
    "quick": Size(8, 4, 4, {0.99: {REPLAY: 3, NARROW: 3, LOOP: 2}}, samples=20, test_samples=20),
    "small": Size(20, 8, 12, {0.99: {REPLAY: 12, NARROW: 12, LOOP: 6}, 0.9: {REPLAY: 2, NARROW: 2, LOOP: 2}}),
}
PAPER_STEPS = 50 * 195


def plan(size: str, results: Results) -> list[Task]:
    """The runs that are compared, side by side by sparsity."""
    if size == "paper":
        return _paper_plan()
    setting = SIZES[size]
    return [
        _run(setting, sparsity, engine, steps, seed)
        for sparsity, engines in setting.steps.items()
        for engine, steps in engines.items()
        for seed in setting.seeds
    ]


def _run(setting: Size, sparsity: float, engine: str, steps: int, seed: int) -> Training:
    network = Network(
        "ResNet", setting.depth, setting.batch_size, engine, 0.0, setting.samples, test_samples=setting.test_samples
    )
    settings: dict[str, Any] = {"sparsity": sparsity, "scores": "random", "iterations": setting.schedule}
    name = f"{network.label.lower()}-{sparsity:g}-{engine.replace(' ', '-')}-seed{seed}"
    return Training(name, engine, network, "ZO/DeepZero-v0", settings, steps, network.alive(sparsity) + 1, seed)


def _paper_plan() -> list[Task]:
    network = Network("ResNet", 20, 256, evaluation_samples=10_000)
    sgd: dict[str, Any] = {"lr": 0.1, "weight_decay": 5e-4, "schedule": "cosine", "iterations": PAPER_STEPS}
    tasks: list[Task] = [
        Training("resnet-20-first-order-seed0", "first-order", network, "Reference/SGD-v0", sgd, PAPER_STEPS, 1, 0)
    ]
    for sparsity in sorted(PAPER, reverse=True):  # the cheapest first
        settings: dict[str, Any] = {"sparsity": sparsity, "epochs": 50}
        name = f"resnet-20-{sparsity:g}-deepzero-seed0"
        queries_a_step = network.alive(sparsity) + 1
        tasks.append(
            Training(
                name, "DeepZero", network, "ZO/DeepZero-v0", settings, PAPER_STEPS, queries_a_step, 0, SCORING_QUERIES
            )
        )
    return tasks


def tables(size: str, results: Results) -> list[Table]:
    """Curves by engine; with --paper accuracies by sparsity."""
    if size == "paper":
        return [_paper_table(results)]
    setting = SIZES[size]
    return [_curves(setting, sparsity, results) for sparsity in setting.steps]


def _curves(setting: Size, sparsity: float, results: Results) -> Table:
    found = _found(setting, sparsity, results)
    shortest = min((len(runs[0]["losses"]) for runs in found.values()), default=0)
    shown = sorted({1, 2, 4, 6, 8, 12} & set(range(1, setting.schedule + 1)))
    rows = []
    for engine, runs in found.items():
        losses = [mean(step) for step in zip(*(run["losses"] for run in runs), strict=True)]
        cells = [f"{losses[step - 1]:.4f}" if step <= len(losses) else "-" for step in shown]
        each_step = mean(run["cpu_seconds"] / run["iterations"] for run in runs)
        after = f"{mean(run['true_loss'] for run in runs):.4f} (step {len(losses)})"
        rows.append((engine, *cells, f"{mean(losses[:shortest]):.4f}", after, f"{each_step:.1f}"))
    network = Network("ResNet", setting.depth, setting.batch_size)
    title = (
        f"{network.label} at {100 * sparsity:g} % sparsity: mini-batch loss at the start of a step, "
        f"{network.alive(sparsity):,} of {network.layout.dim:,} coordinates, batch {setting.batch_size}, "
        f"seed {', '.join(map(str, setting.seeds))}"
    )
    steps = (f"step {step}" for step in shown)
    return Table(title, ("engine", *steps, f"mean of {shortest}", "training loss after", "CPU s a step"), rows)


def _found(setting: Size, sparsity: float, results: Results) -> dict[str, list[Mapping[str, Any]]]:
    """Return the finished runs by engine."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for engine, steps in setting.steps[sparsity].items():
        names = [_run(setting, sparsity, engine, steps, seed).name for seed in setting.seeds]
        if all(name in results for name in names):
            found[engine] = [results[name] for name in names]
    return found


def _paper_table(results: Results) -> Table:
    columns = ("sparsity %", "method", "test accuracy %", "by seed", "queries", "CPU (wall) s")
    rows = []
    for name, run in results.items():
        sparsity = run["settings"].get("sparsity")
        weights, gradient, theirs = ("-", "-", PAPER_DENSE) if sparsity is None else PAPER[sparsity]
        share = "0" if sparsity is None else f"{100 * sparsity:g}"
        cells = (accuracy([run]), each([run]), queries([run]), seconds([run]))
        rows.append((share, run["method"], *cells, f"{theirs}", f"{weights}", f"{gradient}", name))
    others = ("paper %", "paper, first-order sparse weight %", "paper, first-order sparse gradient %", "run")
    return Table("ResNet-20, 50 epochs, batch 256", (*columns, *others), rows)


def draw(size: str, results: Results) -> bytes:
    """Return the loss curves: of all runs with --paper, else of the highest sparsity."""
    check_matplotlib()
    from matplotlib.ticker import MaxNLocator

    if size == "paper":
        title = "ResNet-20, batch 256"
        curves = {f"{run['method']} {run['settings'].get('sparsity', '')}".strip(): run for run in results.values()}
    else:
        sparsity = max(SIZES[size].steps)
        title = f"ResNet-{SIZES[size].depth}, {100 * sparsity:g} % sparsity, batch {SIZES[size].batch_size}"
        curves = {engine: runs[0] for engine, runs in _found(SIZES[size], sparsity, results).items()}
    looks = styles(list(curves), references=[LOOP])
    with canvas(curves) as (figure, axes):
        ends = {}
        for name, run in curves.items():
            losses, look = run["losses"], looks[name]
            style: dict[str, Any] = {"color": look.colour, "linestyle": look.dashes, "linewidth": 1.6}
            if name == LOOP:  # rings around the others' points: the curves all but coincide
                style |= {"linestyle": "", "marker": "o", "markersize": 10, "markerfacecolor": "none"}
            axes.plot(range(1, len(losses) + 1), losses, **style)
            ends[name] = losses[-1]
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("iteration")
        axes.set_ylabel("mini-batch loss")
        axes.set_title(title, loc="left", fontweight="bold")
        label_ends(axes, ends, looks)
        return finish(figure, ("png",), "sparsity-curve", f"{title}: loss by iteration.").files["png"]


EXPERIMENT = Experiment("sparsity-curve", __doc__ or "", plan, tables, draw)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
