"""Accuracy of coordinate-wise gradients of ResNet-20: relative error against back-propagation, layer by layer.

The reference is the gradient by automatic differentiation in float64. Forward differences in every layer, a spread of
its entries; a layer's error is the 2-norm of the difference over the norm of the reference. The baseline is the plain
way, float32 losses at perturbed points with mu = 5e-3; the replay engine works at mu = 1e-4, and at 1e-5, which shows
what is left of the ReLUs' kinks. CIFAR-10 images where ZOTOOLKIT_DATA has them, else noise.
"""

from __future__ import annotations

import copy

import torch
from block_loop import resnet_task
from harness import Options, Report, Row
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from problems.dnn.data import IMAGE_SETS
from zotoolkit import CoordinateBatch
from zotoolkit.engines import LoopEngine, ParameterLayout, ReplayEngine
from zotoolkit.engines.base import Arithmetic

VARIANTS: tuple[tuple[Arithmetic, float, float | None], ...] = (
    ("float32", 1e-4, 0.01),
    ("bfloat16", 1e-4, 0.03),
    ("float32", 1e-5, None),
)
PLAIN_MU = 5e-3


def run(options: Options) -> Report:
    torch.set_num_threads(1)
    batch = 8 if options.quick else 64
    network, inputs, targets = resnet_task(8 if options.quick else 20, batch, options.device)
    network.train()
    images = "noise"
    if IMAGE_SETS["cifar10"].is_there(None):
        data = IMAGE_SETS["cifar10"].load(None)
        inputs, targets = data.normalised(data.train_inputs[:batch]), data.train_targets[:batch]
        inputs, targets, images = inputs.to(options.device), targets.to(options.device), "CIFAR-10"
    layout = ParameterLayout.of(network)
    base = layout.flatten(network)
    exact = _reference(network, layout, inputs, targets)
    index = torch.cat([_entries(slot.start, slot.size, 2 if options.quick else 64) for slot in layout.slots])
    # The plain way takes a whole forward pass a query: fewer entries, spread alike.
    few = torch.cat([_entries(slot.start, slot.size, 2 if options.quick else 8) for slot in layout.slots])
    loop = LoopEngine(network, functional.cross_entropy)
    start = loop.dense(base[None], inputs, targets).double()
    moved = torch.cat(
        [
            loop.dense(
                CoordinateBatch(base=base, scale=base.new_full((1,), PLAIN_MU), index=one).points(), inputs, targets
            )
            for one in few.to(options.device).split(1)
        ]
    )
    plain = _errors(layout, few, (moved.double() - start) / PLAIN_MU, exact)
    rows: list[Row] = []
    notes = [f"plain losses, mu {PLAIN_MU:g}: {_summary(plain)}"]
    for arithmetic, mu, goal in VARIANTS[: 1 if options.quick else None]:
        engine = ReplayEngine(network, functional.cross_entropy, arithmetic=arithmetic)
        still = _losses(engine, base, index[:1], 0.0, inputs, targets)
        slopes = (_losses(engine, base, index, mu, inputs, targets) - still) / mu
        errors = _errors(layout, index, slopes, exact)
        label = f"{arithmetic}, mu {mu:g}"
        rows.append(Row(f"{label}, whole gradient", [], [_whole(layout, errors, exact)], "error", "value", goal))
        both = [mine / theirs for mine, theirs in zip(errors, plain, strict=True)]
        of_all = 1.0 if arithmetic == "float32" and goal else None
        rows.append(Row(f"{label}, error / plain losses' error, worst layer", [], [max(both)], "", "value", of_all))
        worst = goal if arithmetic == "bfloat16" else None
        rows.append(Row(f"{label}, worst layer", [max(plain)], [max(errors)], "error", "value", worst))
        notes.append(f"{label}: {_summary(errors)}")
    settings = {
        "network": "ResNet-20, as initialised",
        "batch": batch,
        "images": images,
        "entries a layer": "64 (plain: 8)",
    }
    return Report(rows, settings, several=True, notes=notes)


def _losses(engine: ReplayEngine, base: Tensor, index: Tensor, mu: float, inputs: Tensor, targets: Tensor) -> Tensor:
    batch = CoordinateBatch(base=base, scale=base.new_full((len(index),), mu), index=index.to(base.device))
    values = engine.coordinates(batch, inputs, targets)
    if values is None:
        raise RuntimeError("the network was not traced")
    return values


def _whole(layout: ParameterLayout, errors: list[float], exact: Tensor) -> float:
    """Return the error of the whole gradient, from each layer's."""
    norms = [float(torch.linalg.vector_norm(exact[slot.start : slot.stop])) for slot in layout.slots]
    wrong = sum((error * norm) ** 2 for error, norm in zip(errors, norms, strict=True))
    return (wrong / sum(norm**2 for norm in norms)) ** 0.5


def _entries(start: int, size: int, count: int) -> Tensor:
    return start + torch.linspace(0, size - 1, min(size, count)).long().unique()


def _reference(network: torch.nn.Module, layout: ParameterLayout, inputs: Tensor, targets: Tensor) -> Tensor:
    """Return the `(d,)` gradient in float64."""
    wide = copy.deepcopy(network).double()
    leaf = layout.flatten(network).double().requires_grad_()
    parameters = {slot.name: leaf[slot.start : slot.stop].view(slot.shape) for slot in layout.slots}
    loss = functional.cross_entropy(functional_call(wide, parameters, (inputs.double(),)), targets)
    return torch.autograd.grad(loss, leaf)[0]


def _errors(layout: ParameterLayout, index: Tensor, slopes: Tensor, exact: Tensor) -> list[float]:
    """Return each layer's relative error over the entries that were asked."""
    slots = layout.slot_of(index).to(slopes.device)
    reference = exact[index.to(exact.device)]
    errors: list[float] = []
    for slot in range(len(layout.slots)):
        rows = slots == slot
        norm = torch.linalg.vector_norm(reference[rows])
        errors.append(float(torch.linalg.vector_norm(slopes[rows] - reference[rows]) / norm))
    return errors


def _summary(errors: list[float]) -> str:
    ordered = sorted(errors)
    return f"median layer {ordered[len(ordered) // 2]:.2e}, worst {ordered[-1]:.2e}"
