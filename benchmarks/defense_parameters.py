"""A step of coordinate queries on a denoiser in front of a black box: the replay engine against a loop and plain vmap.

DnCNN of depth 4 and width 16 (4,976 parameters) in training mode on 64 noisy digits, 736 of its coordinates by forward
differences, and behind it a CNN that is only asked: 737 x 64 queries of the black box a step. One core. All three sides
answer the same queries and ask the same black box, which is part of their time; how large a share is in a note.

The loop perturbs one weight in place, runs the denoiser, asks the black box on its 64 images, and puts the weight back.
vmap runs `torch.func.functional_call` on whole parameter vectors, as many at a time as are fastest here, and asks the
black box on all their images.

The last rows compare the estimate with back-propagation in float64 through denoiser and black box, which no other row
uses, on the coordinates that were asked.
"""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable

import torch
from harness import Options, Report, Row, alternate
from torch import Tensor
from torch.func import functional_call, vmap
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from problems.defense.networks import DnCNN
from problems.dnn import digits
from problems.dnn.networks import two_convolutions
from zotoolkit import CGE, CoordinateBatch
from zotoolkit.engines import ParameterLayout, ReplayEngine
from zotoolkit.nn import losses_behind
from zotoolkit.seeding import torch_generator
from zotoolkit.spaces import Bounds

GOAL = 2.5
COORDINATES = 736
MU = 5e-3
SIGMA = 0.5
_CHUNKS = (4, 8, 16, 32)


class Task:
    """A denoiser, a black box behind it, a mini-batch, and the queries of one step.

    Args:
        training: Whether batch norm uses the mini-batch's statistics.
        count: Coordinates that are asked.
        device: Where it all is.
        mu: Step of the differences.
    """

    def __init__(self, training: bool, count: int, device: str, mu: float = MU) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            denoiser, box = DnCNN(4, 16, 1), two_convolutions()
            data = digits()
            clean = data.train_inputs[:64].reshape(-1, 1, 8, 8).float()
            clean = clean / clean.max()
            images = clean + SIGMA * torch.randn(clean.shape)
            with torch.no_grad():
                for _ in range(20):  # running statistics that belong to such images
                    denoiser.train()(images)
        self.denoiser, self.box = denoiser.train(training).to(device), box.eval().to(device)
        for part in self.denoiser.modules():
            if isinstance(part, _BatchNorm) and training:
                part.track_running_stats = False
                part.running_mean = part.running_var = part.num_batches_tracked = None
        self.images = images.to(device)
        with torch.no_grad():
            self.labels = self.box(clean.to(device)).argmax(1)
        self.layout = ParameterLayout.of(self.denoiser)
        self.base = self.layout.flatten(self.denoiser)
        alive = torch.randperm(self.layout.dim, generator=torch_generator(0))[:count].sort().values.to(device)
        infinite = torch.full_like(self.base, torch.inf)
        self.estimator = CGE(mu)
        self.batch: CoordinateBatch = self.estimator.queries(self.base, alive, 0, 0, Bounds(-infinite, infinite))
        self.engine = ReplayEngine(self.denoiser, functional.mse_loss)
        self._slots = dict(self.denoiser.named_parameters())

    def ask(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the black box's loss of each image."""
        with torch.no_grad():
            return functional.cross_entropy(self.box(images), labels, reduction="none")

    def ours(self) -> Tensor:
        """Return the `(q,)` losses by the replay engine."""
        return losses_behind(self.engine, self.batch, self.images, self.ask, self.labels)

    def loop(self) -> Tensor:
        """Return the same by perturbing in place."""
        losses: list[Tensor] = []
        positions = self.layout.slot_of(self.batch.index).tolist()
        with torch.no_grad():
            for index, step, position in zip(
                self.batch.index.tolist(), self.batch.scale.tolist(), positions, strict=True
            ):
                slot = self.layout.slots[position]
                flat = self._slots[slot.name].data.view(-1)
                kept = flat[index - slot.start].clone()
                flat[index - slot.start] += step
                losses.append(self.ask(self.denoiser(self.images), self.labels).mean())
                flat[index - slot.start] = kept
        return torch.stack(losses)

    def by_vmap(self, chunk: int) -> Tensor:
        """Return the same by vmap over whole parameter vectors."""
        run = vmap(lambda parameters: functional_call(self.denoiser, parameters, (self.images,)))
        losses: list[Tensor] = []
        with torch.no_grad():
            for part in self.batch.split(chunk):
                outputs = run(self.layout.unflatten(part.points()))
                rows = self.ask(outputs.flatten(0, 1), self.labels.repeat(len(part)))
                losses.append(rows.view(len(part), -1).mean(1))
        return torch.cat(losses)

    def black_box_alone(self) -> None:
        """Ask as many images as a step does."""
        images, labels = self.images.repeat(16, 1, 1, 1), self.labels.repeat(16)
        for _ in range(len(self.batch) // 16 + 1):
            self.ask(images, labels)

    def cosine(self) -> float:
        """Return the cosine of the estimate to the exact gradient, on the coordinates that were asked."""
        values = self.ours()
        found = self.estimator.gradient(self.batch, values, torch.isfinite(values)).gradient.double()
        denoiser, box = copy.deepcopy(self.denoiser).double(), copy.deepcopy(self.box).double()
        leaf = self.base.double().requires_grad_()
        parameters = {slot.name: leaf[slot.start : slot.stop].view(slot.shape) for slot in self.layout.slots}
        output = functional_call(denoiser, parameters, (self.images.double(),))
        (exact,) = torch.autograd.grad(functional.cross_entropy(box(output), self.labels), leaf)
        asked = self.batch.index[1:]
        return float(functional.cosine_similarity(found[asked], exact[asked], dim=0))


def run(options: Options) -> Report:
    torch.set_num_threads(1)
    count = 40 if options.quick else COORDINATES
    rows: list[Row] = []
    notes: list[str] = []
    for training in (True, False):
        task = Task(training, count, options.device)
        mode = "batch statistics" if training else "fixed statistics"
        torch.testing.assert_close(task.ours(), task.loop(), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(task.by_vmap(8), task.loop(), rtol=1e-4, atol=1e-5)
        chunk = _fastest(task, options)
        sides: tuple[tuple[str, Callable[[], object]], ...] = (
            ("a loop in place", task.loop),
            ("plain vmap", lambda task=task, chunk=chunk: task.by_vmap(chunk)),
        )
        for name, side in sides:
            baseline, ours = alternate(side, task.ours, options.repeats(9), options.device)
            label = f"{mode}, {name}"
            rows.append(Row(label, [1e3 * t for t in baseline], [1e3 * t for t in ours], "ms a step", "at least", GOAL))
        _, alone = alternate(lambda: None, task.black_box_alone, options.repeats(5), options.device)
        notes.append(
            f"{mode}: asking the black box alone takes {1e3 * statistics.median(alone):.0f} ms of a step; vmap is "
            f"fastest with {chunk} candidates at a time"
        )
        off = 1 - task.cosine()
        rows.append(Row(f"{mode}, 1 - cosine to back-propagation", [], [off], "", "value", 1e-3))
        notes.append(f"{mode}: at mu=1e-3 it is {1 - Task(training, count, options.device, 1e-3).cosine():.2g}")
    settings = {
        "denoiser": "DnCNN 4x16, 4,976 parameters, as initialised",
        "black box": "CNN of two convolutions, 1,898 parameters, as initialised",
        "batch": 64,
        "images": f"digits, noise of standard deviation {SIGMA}",
        "coordinates": count,
        "mu": MU,
        "dtype": "float32",
        "threads": 1,
    }
    return Report(rows, settings, several=True, notes=notes)


def _fastest(task: Task, options: Options) -> int:
    """Return how many candidates vmap is to run at a time, by a stopwatch: the baseline gets its best."""
    if options.quick:
        return _CHUNKS[1]
    times: dict[int, float] = {}
    for chunk in _CHUNKS:
        _, taken = alternate(lambda: None, lambda chunk=chunk: task.by_vmap(chunk), 3, options.device)
        times[chunk] = statistics.median(taken)
    return min(times, key=lambda chunk: times[chunk])
