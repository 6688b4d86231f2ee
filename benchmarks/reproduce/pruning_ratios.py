"""Keep ratios by ZO-GraSP against random and magnitude ones, all else of DeepZero the same.

"random" is the same ratio in every layer, "magnitude" counts the largest weights of the start point layer by layer;
neither costs queries. ZO-GraSP's are counted: all runs have the same budget of training steps, its own come on top.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cells import accuracy, each, mean, queries, seconds, test_loss
from experiment import Experiment, Results, Table, Task, main
from training import SCORING_QUERIES, Network, Training

SCORES = ("zo-grasp", "magnitude", "random")


@dataclass(frozen=True)
class Size:
    """A setting.

    Attributes:
        network: What is trained.
        sparsity: Share of the weights that is not alive.
        iterations: Steps of training.
        seeds: Of the runs.
    """

    network: Network
    sparsity: float
    iterations: int
    seeds: Sequence[int]


SIZES = {
    "quick": Size(Network("CNN", 2, 8, evaluation_samples=40), 0.95, 3, (0, 1)),
    "small": Size(Network("CNN", 3, 16), 0.95, 300, (0, 1)),
    "paper": Size(Network("ResNet", 20, 256, evaluation_samples=10_000), 0.9, 50 * 195, (0, 1, 2)),
}


def plan(size: str, results: Results) -> list[Task]:
    """The three ways with the first seed, then with the next."""
    setting = SIZES[size]
    return [_run(setting, scores, seed) for seed in setting.seeds for scores in SCORES]


def _run(setting: Size, scores: str, seed: int) -> Training:
    network, sparsity = setting.network, setting.sparsity
    settings: dict[str, Any] = {"sparsity": sparsity, "scores": scores, "iterations": setting.iterations}
    before = SCORING_QUERIES if scores == "zo-grasp" else 0
    return Training(
        f"{network.label.lower()}-{sparsity:g}-{scores}-seed{seed}",
        scores,
        network,
        "ZO/DeepZero-v0",
        settings,
        setting.iterations,
        network.alive(sparsity) + 1,
        seed,
        before,
    )


def tables(size: str, results: Results) -> list[Table]:
    """Accuracies by kind of score, and how far each is from random ones, seed by seed."""
    setting = SIZES[size]
    runs = {scores: _of(setting, scores, results) for scores in SCORES}
    rows = []
    for scores, found in runs.items():
        cells = (accuracy(found), each(found), test_loss(found), queries(found), seconds(found))
        base = runs["random"]
        gaps = [100 * (_share(a) - _share(b)) for a, b in zip(found, base, strict=False)] if scores != "random" else []
        rows.append((scores, *cells, _gap(gaps)))
    network = setting.network
    title = (
        f"Keep ratios: {network.label} (d = {network.layout.dim:,}) at {100 * setting.sparsity:g} % sparsity, "
        f"{setting.iterations:,} steps, batch {network.batch_size}, seeds {', '.join(map(str, setting.seeds))}"
    )
    columns = ("ratios by", "test accuracy %", "by seed", "test loss", "queries", "CPU (wall) s", "points above random")
    return [Table(title, columns, rows)]


def _of(setting: Size, scores: str, results: Results) -> list[Mapping[str, Any]]:
    names = (_run(setting, scores, seed).name for seed in setting.seeds)
    return [results[name] for name in names if name in results]


def _share(run: Mapping[str, Any]) -> float:
    return run["metrics"]["test_accuracy"]


def _gap(gaps: Sequence[float]) -> str:
    """Return the mean over seeds with its standard error, from the seeds' own scatter."""
    if len(gaps) < 2:
        return "-"
    return f"{mean(gaps):+.2f} ± {statistics.stdev(gaps) / math.sqrt(len(gaps)):.2f}"


EXPERIMENT = Experiment("pruning-ratios", __doc__ or "", plan, tables)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
