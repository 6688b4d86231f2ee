"""Training a residual network for CIFAR first-order: SGD with one cycle of the learning rate, crops and flips.

The rate rises from lr / 25 to lr over the first 30 % of the steps and falls to lr / 250,000 over the rest, both along a
cosine. Mini-batches are keyed by (seed, step), so a run that goes on from a checkpoint sees what it would have seen.

Source: Smith and Topin, Super-Convergence, 2018 (arXiv 1708.07120); He et al., CVPR 2016 (crops, flips, weight decay).
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch.nn import functional
from tqdm import tqdm

from problems.dnn import CifarResNet, CropFlip, SupervisedData
from problems.dnn.evaluation import figures
from problems.dnn.minibatches import MiniBatches
from zotoolkit.artifacts import fingerprint
from zotoolkit.checkpoint import check_header, has_checkpoint, load_state, save_state
from zotoolkit.checks import check_count, check_device, check_least, check_momentum, check_positive
from zotoolkit.engines.base import innermost_channels, seeded_randomness
from zotoolkit.errors import CheckpointDamaged, CheckpointExists, InvalidSetting, ResultsUnwritable
from zotoolkit.interrupt import InterruptGuard
from zotoolkit.seeding import check_seed, derive_seed

_INIT_DRAW, _BATCH_DRAW = 0xDE8, 0xDE9
_RISE, _FIRST, _LAST = 0.3, 1 / 25, 1 / 250_000


class TimeUp(Exception):
    """The time limit is reached; the training's state is on disk."""


@dataclass(frozen=True)
class Recipe:
    """What is trained, and how.

    Args:
        depth: 6n + 2, such as 20 or 110.
        epochs: Passes over the training images.
        batch_size: Images a step; what is left over sits an epoch out.
        lr: Highest learning rate.
        momentum: Of SGD, Nesterov's.
        weight_decay: On all parameters.
        seed: Of initialisation, mini-batches, crops and flips.

    Raises:
        InvalidSetting: If a setting is out of range.
    """

    depth: int = 20
    epochs: int = 40
    batch_size: int = 256
    lr: float = 0.4
    momentum: float = 0.9
    weight_decay: float = 5e-4
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            check_count(getattr(self, name), name)
        check_positive(self.lr, "lr")
        check_momentum(self.momentum)
        check_least(self.weight_decay, 0, "weight_decay")
        check_seed(self.seed)
        with torch.device("meta"):  # checks depth; draws and allocates nothing
            CifarResNet(self.depth)


def one_cycle(step: int, steps: int, lr: float) -> float:
    """Return the learning rate of a step.

    Args:
        step: From 0.
        steps: Of the whole training.
        lr: Highest rate.

    Examples:
        >>> [round(one_cycle(step, 11, 1.0), 3) for step in (0, 3, 10)]
        [0.04, 1.0, 0.0]
    """
    top = max(1.0, _RISE * (steps - 1))
    begin, end, share = (_FIRST, 1.0, step / top) if step <= top else (1.0, _LAST, (step - top) / (steps - 1 - top))
    return lr * (end + (begin - end) * (1 + math.cos(math.pi * share)) / 2)


def train_resnet(
    data: SupervisedData,
    recipe: Recipe,
    out: str | Path,
    *,
    device: torch.device | str = "cpu",
    time_limit: float | None = None,
    checkpoint_seconds: float = 60.0,
) -> dict[str, Any]:
    """Train a network, or go on where a run of the same recipe was stopped, and write it to a file.

    The run's state lies in the folder `out` + ".run" until the file is there; a kill at any moment costs at most what
    was done since the last checkpoint, and on one CPU thread changes no bit of the result.

    Args:
        data: Images of CIFAR's kind with mean and std, and a test set.
        recipe: What is trained, and how.
        out: The safetensors file to write, for `load_resnet`: tensors under the names of `CifarResNet`, mean, std,
            recipe and accuracy in its metadata.
        device: On CUDA the forward pass runs in bfloat16.
        time_limit: Seconds after which to stop.
        checkpoint_seconds: Between checkpoints.

    Returns:
        "accuracy" on the test images, "seconds" over all runs, "recipe", "data" (a fingerprint), "device".

    Raises:
        TimeUp: When the time limit is reached; the same call goes on.
        CheckpointExists: If the file is there and of another recipe or other data.
        CheckpointMismatch: If the run's folder is.
        ResultsUnwritable: If file or folder cannot be written.
        InvalidSetting: If the device is not there, or the data have no test set, no mean or too few images.
    """
    started, out, device = time.monotonic(), Path(out), check_device(device)
    test = (data.test_inputs, data.test_targets)
    if test[0] is None or test[1] is None or data.mean is None or data.std is None:
        raise InvalidSetting("data must have a test set, mean and std.")
    header = {"recipe": asdict(recipe), "data": _fingerprint(data), "device": device.type}
    if out.exists():
        return _finished(out, header)
    run = out.with_name(out.name + ".run")
    data = data.to(device)
    with seeded_randomness(derive_seed(recipe.seed, _INIT_DRAW), torch.device("cpu")):
        network = CifarResNet(recipe.depth, in_channels=data.train_inputs.shape[1])
    network = network.to(device).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    optimizer = torch.optim.SGD(
        network.parameters(), recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay, nesterov=recipe.momentum > 0
    )
    step, before = 0, 0.0
    if has_checkpoint(run):
        state, found = load_state(run)
        check_header(found, header, run)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        step, before = state["step"], state["seconds"]
    batches = MiniBatches(data, recipe.batch_size, CropFlip())
    steps = recipe.epochs * batches.per_epoch

    def save() -> float:
        seconds = before + time.monotonic() - started
        state = {"network": network.state_dict(), "optimizer": optimizer.state_dict()}
        save_state(run, {**state, "step": step, "seconds": seconds}, header)
        return time.monotonic()

    saved, low = time.monotonic(), torch.autocast("cuda", torch.bfloat16, enabled=device.type == "cuda")
    seed = derive_seed(recipe.seed, _BATCH_DRAW)
    network.train()
    with _bar(steps, step, recipe.depth) as bar, InterruptGuard() as guard:
        while step < steps:
            inputs, targets = batches.at(seed, step)
            with low:
                loss = functional.cross_entropy(network(innermost_channels(inputs)), targets)
            optimizer.param_groups[0]["lr"] = one_cycle(step, steps, recipe.lr)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            bar.update()
            now = time.monotonic()
            up = time_limit is not None and now - started >= time_limit and step < steps
            if up or now - saved >= checkpoint_seconds:
                bar.set_postfix_str(f"loss {float(loss.detach()):.3f}", False)
                saved = save()
            if up:
                raise TimeUp
            try:
                guard.checkpoint()
            except KeyboardInterrupt:
                save()
                raise
    accuracy = figures(network.eval(), functional.cross_entropy, data, test[0].to(device), test[1].to(device))[
        "accuracy"
    ]
    known = {**header, "accuracy": accuracy, "seconds": before + time.monotonic() - started}
    _write(out, network, {"mean": data.mean, "std": data.std, **known})
    shutil.rmtree(run, ignore_errors=True)
    return known


def _bar(steps: int, done: int, depth: int) -> tqdm[Any]:
    every = 0.1 if sys.stderr.isatty() else 30.0
    return tqdm(total=steps, initial=done, desc=f"ResNet-{depth}", unit=" steps", file=sys.stderr, mininterval=every)


def _fingerprint(data: SupervisedData) -> str:
    names = ("train_inputs", "train_targets", "test_inputs", "test_targets")
    return fingerprint({name: getattr(data, name) for name in names})


def _write(out: Path, network: CifarResNet, known: dict[str, Any]) -> None:
    """Write the file whole or not at all."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    part = out.with_name(f"{out.name}.{os.getpid()}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, part, {name: json.dumps(value) for name, value in known.items()})
        part.replace(out)
    except (OSError, SafetensorError) as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise ResultsUnwritable(f"cannot write {out}: {error}. Free space or choose another file.") from error


def _finished(out: Path, header: dict[str, Any]) -> dict[str, Any]:
    """Return what is known of a network that is there already."""
    try:
        with safe_open(out, framework="pt") as file:
            known = {name: json.loads(value) for name, value in (file.metadata() or {}).items()}
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointDamaged(f"{out} is damaged ({error}); delete it or choose another file.") from error
    if any(known.get(name) != header[name] for name in ("recipe", "data")):
        raise CheckpointExists(f"{out} holds a network of another recipe or other data; choose another file.")
    return {name: value for name, value in known.items() if name not in ("mean", "std")}
