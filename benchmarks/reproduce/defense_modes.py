"""All ways to defend a digits classifier that can only be asked, by certified accuracy on the same test images.

Three black boxes: a random forest and gradient boosting, for which no gradient exists, and a small CNN that answers
with logits, or with labels only. Before them a denoiser of 4,976 parameters (DnCNN, 4 layers of 16 channels), and with
it, in the AE rows, an encoder and a fixed decoder. All training starts from the denoiser pre-trained on clean images
unless the row says otherwise, lasts 800 steps of 64 noisy images (DeepZero: 80), and knows the classifier's own labels
of the training images.

The learning rates of DeepZero and of first-order training are chosen on a fifth of the training images that is held
out; all others are the recipes' defaults. The test images choose nothing.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cells import mean
from defense_cell import Cell, Way, certification_of
from experiment import Experiment, Results, Table, Task, main

from zotoolkit.certification import Certification
from zotoolkit.certification.plots import draw_curves

FOREST, BOOSTING, CNN = "forest", "boosting", "cnn"
_FIRST, _DEEP = "Defense/FO-DS-v0", "ZO/DeepZero-v0"
_ALONE = {"latent": 0}
_LABELS = {"access": "label"}
# 656 of 4,896 convolution weights, and the 80 numbers of batch norms and biases: 736 coordinates.
_SPARSE = {"sparsity": 0.866}

UNDEFENDED = Way("undefended", "undefended", undefended=True)
DS_MSE = Way("DS-MSE", "ds-mse", problem=_ALONE)
AE_MSE = Way("AE-DS, MSE only", "ae-mse")
AE_RGE = Way("ZO-AE-DS, RGE q = 16", "zo-ae-ds", "Defense/ZO-AE-DS-v0")
AE_CGE = Way("ZO-AE-DS, CGE", "zo-ae-ds-cge", "Defense/ZO-AE-DS-v0", {"estimator": "cge"})
AE_RANDOM = Way(
    "ZO-AE-DS, untrained start",
    "zo-ae-ds-random",
    "Defense/ZO-AE-DS-v0",
    problem={"initial": "random"},
)
AE_LABEL = Way("ZO-AE-DS, labels only", "zo-ae-ds-label", "Defense/ZO-AE-DS-v0", problem=_LABELS)
DS_RGE = Way("ZO-DS, RGE q = 20", "zo-ds", "Defense/ZO-DS-v0", {"q": 20}, _ALONE)
DS_CGE = Way("ZO-DS, CGE", "zo-ds-cge", "Defense/ZO-DS-v0", {"estimator": "cge"}, _ALONE)
FO_DS = Way("FO-DS (white box)", "fo-ds", _FIRST, problem=_ALONE)
FO_AE = Way("FO-AE-DS (white box)", "fo-ae-ds", "Defense/FO-AE-DS-v0")
DEEP_ZERO = Way("DeepZero", "deepzero", _DEEP, _SPARSE, _ALONE)
DEEP_ZERO_RANDOM = Way(
    "DeepZero, untrained start",
    "deepzero-random",
    _DEEP,
    _SPARSE,
    {**_ALONE, "initial": "random"},
)

CNN_WAYS = (
    UNDEFENDED,
    DS_MSE,
    AE_MSE,
    AE_RGE,
    FO_AE,
    FO_DS,
    AE_LABEL,
    DS_RGE,
    DS_CGE,
    AE_CGE,
    AE_RANDOM,
    DEEP_ZERO,
    DEEP_ZERO_RANDOM,
)
LINES = (UNDEFENDED, DS_MSE, AE_MSE, AE_RGE, FO_AE)
# As tables print them: what asks nothing, what asks, what needs more than answers.
_ORDER = (
    UNDEFENDED,
    DS_MSE,
    AE_MSE,
    DS_RGE,
    DS_CGE,
    AE_RGE,
    AE_CGE,
    AE_RANDOM,
    AE_LABEL,
    DEEP_ZERO,
    DEEP_ZERO_RANDOM,
    FO_DS,
    FO_AE,
)
TUNING_SEED = 100
HELD_OUT = 0.2


@dataclass(frozen=True)
class Size:
    """A setting.

    Attributes:
        seeds: Of the runs; the undefended classifier has none.
        trees: Tree classifiers, at sigma = 0.5.
        tree_ways: What stands before them.
        networks: Ways in front of the CNN.
        sigmas: For the CNN, in order.
        images: Test images.
        n: Samples behind a certificate.
        many: Samples behind a certificate of the table with more of them, for the first seed.
        many_ways: Its rows.
        rates: That are tried, by the way's short name.
        steps: Of ways with such a rate, by the solver.
        tuning: Their steps while rates are tried.
        solver: Further settings of all other solvers.
        problem: Further settings of all problems.
    """

    seeds: Sequence[int]
    trees: Sequence[str]
    tree_ways: Sequence[Way]
    networks: Sequence[Way]
    sigmas: Sequence[float]
    images: int
    n: int
    many: int
    many_ways: Sequence[Way]
    rates: Mapping[str, Sequence[float]]
    steps: Mapping[str, int]
    tuning: Mapping[str, int]
    solver: Mapping[str, Any] = field(default_factory=dict)
    problem: Mapping[str, Any] = field(default_factory=dict)


SIZES = {
    "quick": Size(
        seeds=(0,),
        trees=(FOREST,),
        tree_ways=(UNDEFENDED, AE_RGE),
        networks=(DS_RGE, FO_DS, DEEP_ZERO_RANDOM),
        sigmas=(0.5,),
        images=20,
        n=100,
        many=200,
        many_ways=(DS_RGE,),
        rates={DEEP_ZERO_RANDOM.short: (0.01, 0.03)},
        steps={_DEEP: 2},
        tuning={_DEEP: 1},
        solver={"iterations": 2},
        problem={
            "depth": 2,
            "width": 2,
            "latent": 2,
            "autoencoder_width": 2,
            "initial": "random",
            "batch_size": 8,
        },
    ),
    "small": Size(
        seeds=(0, 1, 2),
        trees=(FOREST, BOOSTING),
        tree_ways=(AE_RGE, UNDEFENDED, DS_MSE, AE_MSE),
        networks=CNN_WAYS,
        sigmas=(0.5, 0.25),
        images=200,
        n=1_000,
        many=10_000,
        many_ways=(UNDEFENDED, DS_MSE, AE_RGE, FO_AE),
        rates={
            FO_DS.short: (0.001, 0.003, 0.01),
            DEEP_ZERO.short: (0.003, 0.01, 0.03),
            DEEP_ZERO_RANDOM.short: (0.01, 0.03, 0.1),
        },
        steps={_FIRST: 800, _DEEP: 80},
        tuning={_FIRST: 300, _DEEP: 30},
    ),
}
SIGMA = 0.5  # of all that is not done at every sigma
RADII = {0.5: (0.0, 0.25, 0.5, 0.75), 0.25: (0.0, 0.25, 0.5)}


def plan(size: str, results: Results) -> list[Task]:
    """The trees; the CNN: first the lines that matter most, then the first seed of all, more samples, other seeds."""
    setting = SIZES[size]
    tasks: list[Cell] = []
    for classifier in setting.trees:
        for way in setting.tree_ways:
            tasks.extend(_cells(setting, classifier, way, SIGMA))
    first, *others = setting.sigmas
    tuning = [task for way in setting.networks for task in _tuning(setting, way)]
    tasks.extend(tuning)
    if any(task.name not in results for task in tuning):
        return _once(tasks)
    cells = {
        (way.short, sigma): _cells(setting, CNN, _rated(setting, way, results), sigma)
        for way in setting.networks
        for sigma in setting.sigmas
        if sigma == first or way is not AE_LABEL
    }
    tasks.extend(cell for way in setting.networks if way in LINES for cell in cells[way.short, first])
    tasks.extend(block[0] for (_, sigma), block in cells.items() if sigma == first)
    tasks.extend(block[0] for (_, sigma), block in cells.items() if sigma in others)
    tasks.extend(_many(setting, way, results) for way in setting.many_ways)
    tasks.extend(cell for block in cells.values() for cell in block)
    return _once(tasks)


def _once(tasks: Sequence[Task]) -> list[Task]:
    return list({task.name: task for task in tasks}.values())


def _cells(setting: Size, classifier: str, way: Way, sigma: float) -> list[Cell]:
    """Return the runs of a way, one a seed."""
    settings = {**setting.solver, **way.settings} if way.solver not in (None, DEEP_ZERO.solver) else way.settings
    given = replace(way, settings=settings, problem={**setting.problem, **way.problem})
    seeds = setting.seeds[:1] if way.undefended else setting.seeds
    return [
        Cell(run_name(classifier, way, sigma, seed), classifier, given, sigma, seed, setting.n, setting.images)
        for seed in seeds
    ]


def run_name(classifier: str, way: Way, sigma: float, seed: int) -> str:
    """Return the name of a way's run of one seed."""
    return f"{classifier}-sigma{sigma:g}-{way.short}" + ("" if way.undefended else f"-seed{seed}")


def _many(setting: Size, way: Way, results: Results) -> Cell:
    """Return the first seed's run certified with more samples."""
    cell = _cells(setting, CNN, _rated(setting, way, results), SIGMA)[0]
    trained = "" if way.solver is None else cell.name
    return replace(cell, name=f"{cell.name}-n{setting.many}", n=setting.many, trained_by=trained)


def _tuning(setting: Size, way: Way) -> list[Cell]:
    """Return the runs that decide a way's rate; none of one whose rate is its recipe's.

    First-order training with an auto-encoder takes the rate of that without.
    """
    if way is FO_AE and FO_DS in setting.networks:
        way = FO_DS
    return [
        replace(
            _cells(setting, CNN, _with_rate(way, rate, setting.tuning), SIGMA)[0],
            name=f"tuning-{way.short}-{rate:g}",
            seed=TUNING_SEED,
            held_out=HELD_OUT,
        )
        for rate in setting.rates.get(way.short, ())
    ]


def _with_rate(way: Way, rate: float, steps: Mapping[str, int]) -> Way:
    solver = _FIRST if way is FO_AE else str(way.solver)
    return replace(way, settings={**way.settings, "lr": rate, "iterations": steps[solver]})


def _rated(setting: Size, way: Way, results: Results) -> Way:
    """Return a way with the rate that has the largest average radius on what was held out."""
    tuning = _tuning(setting, way)
    if not tuning:
        return way
    best = max(tuning, key=lambda task: certification_of(results[task.name]).average_certified_radius)
    return _with_rate(way, best.way.settings["lr"], setting.steps)


def tables(size: str, results: Results) -> list[Table]:
    """The trees, the CNN by sigma, more samples, then the rates that were tried."""
    setting = SIZES[size]
    found: list[Table] = []
    for classifier in setting.trees:
        found.append(_table(setting, classifier, SIGMA, setting.tree_ways, results))
    for sigma in setting.sigmas:
        found.append(_table(setting, CNN, sigma, setting.networks, results))
    many = []
    for way in _ordered(setting.many_ways):
        name = run_name(CNN, way, SIGMA, setting.seeds[0])
        if f"{name}-n{setting.many}" in results and name in results:
            spent = {key: results[name][key] for key in ("queries", "training_images", "cpu_seconds")}
            many.append((way.name, [{**results[f"{name}-n{setting.many}"], **spent}]))
    title = f"cnn, sigma = {SIGMA:g}, n = {setting.many:,}, seed {setting.seeds[0]}"
    found.append(Table(title, _columns(SIGMA), [_row(name, runs, SIGMA) for name, runs in many]))
    tried = [
        (
            way.name,
            str(task.way.settings["iterations"]),
            f"{task.way.settings['lr']:g}",
            f"{certified.certified_accuracy(0.25):.3f}",
            _radius([certified]),
        )
        for way in _ordered(setting.networks)
        for task in ([] if way is FO_AE else _tuning(setting, way))
        if task.name in results
        for certified in [certification_of(results[task.name])]
    ]
    title = f"Rates tried: seed {TUNING_SEED}, a fifth of the training images held out"
    found.append(Table(title, ("way", "steps", "rate", "held-out r = 0.25", "held-out average radius"), tried))
    return [table for table in found if table.rows]


def _ordered(ways: Sequence[Way]) -> list[Way]:
    return [way for way in _ORDER if way in ways]


def _table(setting: Size, classifier: str, sigma: float, ways: Sequence[Way], results: Results) -> Table:
    rows = []
    for way in _ordered(ways):
        seeds = setting.seeds[:1] if way.undefended else setting.seeds
        names = (run_name(classifier, way, sigma, seed) for seed in seeds)
        runs = [results[name] for name in names if name in results]
        if runs:
            rows.append(_row(way.name, runs, sigma))
    title = f"{classifier}, sigma = {sigma:g}, n = {setting.n:,}, {setting.images} test images"
    return Table(title, _columns(sigma), rows)


def _columns(sigma: float) -> list[str]:
    radii = [f"r = {radius:g}" for radius in RADII[sigma]]
    return ["way", "seeds", "clean", *radii, "average radius", "queries", "images sent to train", "CPU s to train"]


def _row(name: str, runs: Sequence[Mapping[str, Any]], sigma: float) -> list[str]:
    certified = [certification_of(run) for run in runs]
    shares = [_spread([float(one.certified_accuracy(radius)) for one in certified]) for radius in RADII[sigma]]
    return [
        name,
        str(len(runs)),
        _spread([run["clean_accuracy"] for run in runs]),
        *shares,
        _radius(certified),
        f"{runs[0]['queries']:,}",
        f"{max(run['training_images'] for run in runs):,}",
        f"{mean(run['cpu_seconds'] for run in runs):.0f}",
    ]


def _spread(values: Sequence[float]) -> str:
    """Return the mean and, of several seeds, their standard deviation."""
    middle = f"{mean(values):.3f}"
    return f"{middle} ± {statistics.stdev(values):.3f}" if len(values) > 1 else middle


def _radius(certified: Sequence[Certification]) -> str:
    return _spread([one.average_certified_radius for one in certified])


def curves(size: str, results: Results, classifier: str, ways: Sequence[Way]) -> dict[str, Certification]:
    """Return the first seed's certificates at sigma = 0.5, by way."""
    setting = SIZES[size]
    names = {way.name: run_name(classifier, way, SIGMA, setting.seeds[0]) for way in _ordered(ways)}
    return {label: certification_of(results[name]) for label, name in names.items() if name in results}


def draw(size: str, results: Results) -> bytes:
    """Return the curves of all ways in front of the CNN."""
    found = curves(size, results, CNN, SIZES[size].networks)
    return draw_curves(found, title=f"CNN, sigma = {SIGMA:g}").files["png"]


EXPERIMENT = Experiment(
    "defense-modes",
    __doc__ or "",
    plan,
    tables,
    draw,
    paper="Zhang et al., How to Robustify Black-Box ML Models? A Zeroth-Order Optimization Perspective, ICLR 2022",
    data="scikit-learn digits",
    sizes=("quick", "small"),
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
