"""A defense as a task: trained in front of a digits classifier that is only asked, then certified, all counts kept."""

from __future__ import annotations

import dataclasses
import inspect
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from experiment import Options, Task
from torch import Tensor, nn
from training import Deadline, ProcessorTime
from typing_extensions import override

import zotoolkit
from problems.defense import DefendClassifier, Defense, Front, Measures, defend_digits, recipes
from problems.defense.networks import DnCNN
from problems.defense.pretraining import pretrain_denoiser
from zotoolkit.certification import Certification, ImageCounts, SmoothingSettings, certify
from zotoolkit.certification.counts import Tally
from zotoolkit.checkpoint import has_checkpoint, load_state, save_state
from zotoolkit.engines.base import seeded_randomness
from zotoolkit.query_models.budget import CERTIFICATION, TRAINING
from zotoolkit.seeding import derive_seed
from zotoolkit.solvers.recipes import deep_zero

# Whose defaults belong to what decides a result.
_RECIPES = {
    "Defense/ZO-AE-DS-v0": recipes.zo_ae_ds,
    "Defense/ZO-DS-v0": recipes.zo_ds,
    "Defense/FO-AE-DS-v0": recipes.fo_ae_ds,
    "Defense/FO-DS-v0": recipes.fo_ds,
    "ZO/DeepZero-v0": deep_zero,
}
_CERTIFY_DRAW = 0xDEF9  # as in problems.defense.measuring: the same noise as that of `zotoolkit run`
_UNLIMITED = 10**9
_BLOCK = 20


@dataclass(frozen=True)
class Way:
    """One way to the classifier, and how it is trained.

    Attributes:
        name: What tables call it.
        short: In the names of runs.
        solver: Id of a registered solver; None for none.
        settings: Of the solver.
        problem: Settings of `defend_digits`.
        undefended: Whether the classifier stands alone.
    """

    name: str
    short: str
    solver: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    problem: Mapping[str, Any] = field(default_factory=dict)
    undefended: bool = False


@dataclass(frozen=True)
class Cell(Task):
    """One defense of one seed.

    Attributes:
        name: As in `Task`.
        classifier: "forest", "boosting" or "cnn".
        way: What stands before it.
        sigma: Of the noise.
        seed: Of denoiser, mini-batches, noise and directions.
        n: Samples behind a certificate.
        images: Test images that are certified.
        held_out: Share of the training images that are certified in the test images' place; 0 for these.
        trained_by: Name of the run whose parameters are certified; empty to train.
    """

    name: str
    classifier: str
    way: Way
    sigma: float
    seed: int
    n: int = 1_000
    images: int = 200
    held_out: float = 0.0
    trained_by: str = ""

    @override
    def description(self) -> dict[str, Any]:
        own = {key: value for key, value in dataclasses.asdict(self).items() if key not in ("name", "way")}
        way = dataclasses.asdict(self.way)
        recipe = _RECIPES.get(self.way.solver or "")
        settings = {} if recipe is None else {**_defaults(recipe), **self.way.settings}
        problem = {**_defaults(defend_digits), **self.way.problem, "certified_images": self.images, "n": self.n}
        del way["name"]  # a label decides nothing
        return own | way | {"settings": settings, "problem": {**problem, "baselines": False}}

    @override
    def run(self, home: Path, options: Options) -> dict[str, Any]:
        options.check_time()
        objective = self._objective(options.device)
        objective.measures = _AccuracyOnly(images=self.images, n=self.n, baselines=False)
        found: dict[str, Any] = {"dimension": objective.dim, "queries": 0, "cpu_seconds": 0.0, "wall_seconds": 0.0}
        defense: nn.Module | None = None
        if not self.way.undefended:
            defense, trained = self._trained(objective, home, options)
            found |= trained
        found["training_images"] = objective.model.ledger.of(TRAINING).sent
        begun = time.process_time()
        certification = self._certified(objective, defense, home / f"counts-{self.n}", options)
        found["certification_cpu_seconds"] = time.process_time() - begun  # of this piece, if it was interrupted
        found["certification_images"] = certification.queries
        found["clean_accuracy"] = _accuracy(objective, defense, self.images)
        return found | kept_counts(certification)

    def _objective(self, device: str) -> DefendClassifier:
        measured = {"certified_images": self.images, "n": self.n, "baselines": False}
        objective = defend_digits(self.classifier, sigma=self.sigma, device=device, **{**self.way.problem, **measured})
        return self._tuned(objective, device) if self.held_out else objective

    def _tuned(self, objective: DefendClassifier, device: str) -> DefendClassifier:
        """Return the same denoiser, trained on a part of the training images and certified on the rest of them."""
        images = objective.images.hold_out(self.held_out)
        settings = {**_defaults(defend_digits), **self.way.problem}

        def network() -> nn.Module:
            return DnCNN(settings["depth"], settings["width"], images.shape[0])

        def build(seed: int) -> Defense:
            if settings["initial"] == "mse":
                return Defense(Front(pretrain_denoiser(network, images, self.sigma, seed=seed, device=device).module))
            with seeded_randomness(derive_seed(seed), torch.device("cpu")):
                return Defense(Front(network()))

        return DefendClassifier(objective.model, images, self.sigma, build, device=device)

    def _trained(self, objective: DefendClassifier, home: Path, options: Options) -> tuple[Defense, dict[str, Any]]:
        x0, _ = objective.reset(seed=self.seed)
        if self.way.solver is None:
            return objective.defense, {}
        if self.trained_by:
            state, _ = load_state(home.parent / self.trained_by / "trained")
            return objective.defended(state["x"].to(x0)), {"queries": 0}
        clock, solver = ProcessorTime(), zotoolkit.make_solver(self.way.solver, **self.way.settings)
        result = zotoolkit.minimize(
            objective,
            solver,
            budget=_UNLIMITED,  # all these solvers end by themselves
            seed=self.seed,
            callbacks=[clock, Deadline(options)],
            progress=False,
            checkpoint=home,
            resume=has_checkpoint(home),
        )
        save_state(home / "trained", {"x": result.x}, {})
        return objective.defended(result.x), {
            "queries": result.queries,
            "iterations": result.iterations,
            "reason": result.reason.name,
            "first_order": getattr(solver, "first_order", False),
            "cpu_seconds": clock.seconds,
            "wall_seconds": result.seconds,
            "true_loss": result.value,
        }

    def _certified(
        self, objective: DefendClassifier, defense: nn.Module | None, store: Path, options: Options
    ) -> Certification:
        """Certify block by block, so that a time limit ends it between two of them."""
        x, y = _chosen(objective, self.images)

        def predict(noisy: Tensor) -> Tensor:
            return _answers(objective, defense, noisy)

        stop, found = 0, None
        while found is None or stop < len(x):
            options.check_time()
            stop = min(len(x), stop + _BLOCK)
            with objective.model.spending(CERTIFICATION):
                found = certify(
                    predict,
                    x[:stop],
                    y[:stop],
                    sigma=self.sigma,
                    n=self.n,
                    seed=derive_seed(0, _CERTIFY_DRAW),
                    classes=objective.model.classes,
                    chunk=1_024,
                    store=store,
                )
        return found


class _AccuracyOnly(Measures):
    """Leaves certification to the task, which can be stopped in it."""

    @override
    def final(self, objective: DefendClassifier, defense: Defense) -> dict[str, float]:
        return {}


def kept_counts(certification: Certification) -> dict[str, Any]:
    """Return what certificates follow from, short enough for a result file: texts of one number an image."""
    labels = certification.y
    columns = {
        "labels": [] if labels is None else labels.tolist(),
        "selected": certification.selected.tolist(),
        "successes": certification.successes.tolist(),
        "asked": certification.asked.tolist(),
    }
    counts = {name: " ".join(map(str, column)) for name, column in columns.items()}
    return {"smoothing": dataclasses.asdict(certification.settings), "counts": counts}


def certification_of(run: Mapping[str, Any]) -> Certification:
    """Return the certificates of a run from its counts.

    Of the votes only those for the selected class are there, which is all that certificates need: the others stand
    among the failed ones.
    """
    settings = SmoothingSettings(**run["smoothing"])
    columns = [map(int, run["counts"][name].split()) for name in ("labels", "selected", "successes", "asked")]
    images = [
        ImageCounts(
            index=index,
            selection=Tally({}, settings.n0) if selected < 0 else Tally({selected: settings.n0}),
            estimation=Tally({}, asked) if selected < 0 else Tally({selected: successes}, asked - successes),
            label=label,
        )
        for index, (label, selected, successes, asked) in enumerate(zip(*columns, strict=True))
    ]
    return Certification(settings, tuple(images), settings.alpha)


def _chosen(objective: DefendClassifier, count: int) -> tuple[Tensor, Tensor]:
    images = objective.images.subset(test=count) if count < len(objective.images.test) else objective.images
    return images.test, images.test_labels


def _answers(objective: DefendClassifier, defense: nn.Module | None, images: Tensor) -> Tensor:
    with torch.no_grad():
        seen = images if defense is None else defense(images.to(objective.device))
    return objective.model.predict(seen).cpu()


def _accuracy(objective: DefendClassifier, defense: nn.Module | None, count: int) -> float:
    """Return the share of test images that are answered right without any noise."""
    x, y = _chosen(objective, count)
    with objective.model.spending("evaluation"):
        return float((_answers(objective, defense, x) == y).double().mean())


def _defaults(function: Any) -> dict[str, Any]:
    """Return a function's settings as they are by default, apart from those that decide no result."""
    parameters = inspect.signature(function).parameters.values()
    left = ("classifier", "sigma", "device", "certified_images", "n", "baselines")
    return {p.name: p.default for p in parameters if p.name not in left}
