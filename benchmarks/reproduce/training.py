"""A training run as a task: a network on CIFAR-10, a registered solver, checkpoints, its figures when it is done."""

from __future__ import annotations

import functools
import math
import resource
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from experiment import Options, Task
from torch import nn
from typing_extensions import override

import zotoolkit
from problems.dnn import CifarResNet, CropFlip, SupervisedData, TrainNetwork, cifar10, deepzero_cnn
from zotoolkit.callbacks import Callback, History
from zotoolkit.checkpoint import has_checkpoint
from zotoolkit.engines import LoopEngine, ParameterLayout, ReplayEngine
from zotoolkit.errors import ScheduleWarning
from zotoolkit.masks.ratios import kept_count, maskable_slots
from zotoolkit.run import Run

NETWORKS: dict[str, Callable[[int], nn.Module]] = {"CNN": deepzero_cnn, "ResNet": CifarResNet}
ENGINES: dict[str, Any] = {
    "replay": ReplayEngine,
    "replay bfloat16": functools.partial(ReplayEngine, arithmetic="bfloat16"),
    "loop": LoopEngine,
}
SCORING_QUERIES = 2 * (192 + 1)  # of ZO-GraSP


@dataclass(frozen=True)
class Network:
    """What is trained, and on what.

    Attributes:
        kind: "CNN" or "ResNet".
        depth: Convolutional layers of the CNN; 6n + 2 of the ResNet.
        batch_size: Images a mini-batch, shifted and mirrored.
        engine: Of `ENGINES`.
        held_out: Share of the training set that is measured in the test set's place; 0 for the test set itself.
        evaluation_samples: Training images that the training loss is measured on at the end.
        test_samples: Test images that are measured; None for all.
    """

    kind: str
    depth: int
    batch_size: int
    engine: str = "replay"
    held_out: float = 0.0
    evaluation_samples: int = 2_000
    test_samples: int | None = None

    @property
    def label(self) -> str:
        """How tables call it."""
        return f"{self.kind}-{self.depth}"

    @property
    def layout(self) -> ParameterLayout:
        """Where its parameters stand."""
        with torch.device("meta"):
            return ParameterLayout.of(NETWORKS[self.kind](self.depth))

    def alive(self, sparsity: float) -> int:
        """Return how many coordinates DeepZero estimates in an iteration."""
        layout = self.layout
        return layout.dim - sum(slot.size for slot in maskable_slots(layout)) + kept_count(layout, sparsity)

    def objective(self, options: Options) -> TrainNetwork:
        """Read the data and build the objective."""
        data = _images(options.folder)
        if self.held_out:
            data = data.hold_out(self.held_out)
        data = data.subset(test=self.test_samples)
        return TrainNetwork(
            functools.partial(NETWORKS[self.kind], self.depth),
            data,
            batch_size=self.batch_size,
            augment=CropFlip(padding=4),
            evaluation_samples=min(self.evaluation_samples, len(data.train_inputs)),
            engine=ENGINES[self.engine],
            device=options.device,
            name=f"{self.label} on CIFAR-10",
        )


@dataclass(frozen=True)
class Training(Task):
    """One run of `minimize`.

    Attributes:
        name: As in `Task`.
        method: What tables call it.
        network: What is trained.
        solver: Id of a registered solver.
        settings: Of the solver.
        iterations: Steps of training that are paid for.
        each: Queries a step.
        seed: Of the run: initialisation, mini-batches, directions and masks.
        before: Queries before the first step.
    """

    name: str
    method: str
    network: Network
    solver: str
    settings: dict[str, Any]
    iterations: int
    each: int
    seed: int
    before: int = field(default=0)

    @property
    def budget(self) -> int:
        """Queries that may be spent."""
        return self.before + self.iterations * self.each

    @override
    def description(self) -> dict[str, Any]:
        network = {key: value for key, value in asdict(self.network).items() if value is not None}
        return {**{key: value for key, value in asdict(self).items() if key != "name"}, "network": network}

    @override
    def run(self, home: Path, options: Options) -> dict[str, Any]:
        objective = self.network.objective(options)
        history, clock = History(), ProcessorTime()
        with warnings.catch_warnings():
            # A loop that is stopped early still follows the schedule of those that it is compared with.
            warnings.simplefilter("ignore", ScheduleWarning)
            result = zotoolkit.minimize(
                objective,
                zotoolkit.make_solver(self.solver, **self.settings),
                budget=self.budget,
                seed=self.seed,
                callbacks=[history, clock, Deadline(options)],
                progress=sys.stderr.isatty(),
                checkpoint=home,
                resume=has_checkpoint(home),
            )
        trained = [row for row in history.rows if row.get("phase", 2.0) == 2.0]
        tested = objective.data.test_inputs
        return {
            "dimension": objective.dim,
            "queries": result.queries,
            "reason": result.reason.name,
            "cpu_seconds": clock.seconds,
            "wall_seconds": result.seconds,
            "costs": result.costs,
            "true_loss": result.value,
            "metrics": result.metrics,
            "tested_on": "training images held out" if self.network.held_out else "test images",
            "test_samples": 0 if tested is None else len(tested),
            "losses": [float(f"{row['loss']:.6g}") for row in trained],
        }


def family_seconds() -> float:
    """Return the CPU seconds of this process and of its children that have ended."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


class ProcessorTime(Callback):
    """Counts CPU seconds between iterations, before a resume included.

    Args:
        clock: This process's by default; `family_seconds` where others compute for it.

    Attributes:
        seconds: So far.
    """

    def __init__(self, clock: Callable[[], float] = time.process_time) -> None:
        self._clock = clock
        self.seconds = 0.0
        self._mark = 0.0

    @override
    def on_start(self, run: Run) -> None:
        self._mark = self._clock()

    @override
    def on_iteration(self, run: Run) -> None:
        now = self._clock()
        self.seconds += now - self._mark
        self._mark = now

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    @override
    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seconds = state["seconds"]


class Deadline(Callback):
    """Ends a run by `TimeUp`, after which `minimize` writes a checkpoint; says every so often how far it is.

    Args:
        options: With the deadline.
        every: Seconds between two lines where there is no terminal, and so no progress bar.
    """

    def __init__(self, options: Options, every: float = 30.0) -> None:
        self._options = options
        self._every = every
        self._said = time.monotonic()

    @override
    def on_iteration(self, run: Run) -> None:
        now = time.monotonic()
        if not sys.stderr.isatty() and now - self._said >= self._every:
            self._said = now
            share = run.queries / run.budget
            print(f"  iteration {run.iteration}, {share:.0%}, loss {run.figures.get('loss', math.nan):.4g}", flush=True)
        self._options.check_time()


@functools.lru_cache(maxsize=1)
def _images(folder: Path | None) -> SupervisedData:
    return cifar10(folder)
