"""Certifying an image with n = 1,000 noisy samples on small CNNs, against ART's PyTorchRandomizedSmoothing; one core.

Both sides choose the class with 100 samples, certify it with 1,000 and compute the radius; neither stops early. ART
draws float64 noise from NumPy's generator and predicts in float32; it is timed with the batch size that its `certify`
has by default, 32, and with 128, which is ours.

The judged rows are at ART's default. Memory is what certifying one image takes at its peak beyond what the process had
before, with 1,000 and with 100,000 samples, whose noise written out is 1,172 MiB.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import torch
from harness import Options, Report, Row, alternate
from torch import nn

from problems.dnn.networks.cnn import deepzero_cnn
from zotoolkit.certification import certify

GOAL = 2.0
MEMORY_GOAL = 1.25
SIGMA = 0.25
N0, N = 100, 1_000


def run(options: Options) -> Report:
    torch.set_num_threads(1)
    rows: list[Row] = []
    missing: list[str] = []
    n = 200 if options.quick else N
    for name, make in NETWORKS.items():
        network, shape = make()
        for batch in (32, 128):
            try:
                rows.append(_row(name, network.to(options.device).eval(), shape, batch, n, options))
            except ImportError as error:
                missing.append(f"{name}, batch {batch}: {error}")
    if options.device == "cpu":
        rows.append(_memory(options))
    settings = {"n0": N0, "n": n, "sigma": SIGMA, "chunk": 128, "threads": 1, "dtype": "float32"}
    notes = ["torch modules with convolutions get their images channels-last in memory from zotoolkit"]
    return Report(rows, settings, several=True, missing=missing, notes=notes)


def digits_cnn() -> tuple[nn.Module, tuple[int, ...]]:
    """A CNN of 1,898 parameters for 8x8 images."""
    layers: list[tuple[str, nn.Module]] = [
        ("conv1", nn.Conv2d(1, 8, 3, padding=1)),
        ("relu1", nn.ReLU()),
        ("pool1", nn.MaxPool2d(2)),
        ("conv2", nn.Conv2d(8, 16, 3, padding=1)),
        ("relu2", nn.ReLU()),
        ("pool2", nn.MaxPool2d(2)),
        ("flatten", nn.Flatten()),
        ("fc", nn.Linear(64, 10)),
    ]
    return nn.Sequential(OrderedDict(layers)), (1, 8, 8)


def cifar_cnn() -> tuple[nn.Module, tuple[int, ...]]:
    """The CNN of 6,670 parameters on which DeepZero compares estimators, for 32x32 images."""
    return deepzero_cnn(depth=3), (3, 32, 32)


NETWORKS = {"digits CNN, 8x8": digits_cnn, "CNN, 32x32": cifar_cnn}


def _row(name: str, network: nn.Module, shape: tuple[int, ...], batch: int, n: int, options: Options) -> Row:
    from art.estimators.certification.randomized_smoothing import PyTorchRandomizedSmoothing

    image = torch.rand(1, *shape, generator=torch.Generator().manual_seed(0))
    device_type = "gpu" if options.device == "cuda" else "cpu"
    art = PyTorchRandomizedSmoothing(
        network, nn.CrossEntropyLoss(), shape, 10, device_type=device_type, sample_size=N0, scale=SIGMA
    )
    array, mine = image.numpy(), image.to(options.device)

    def baseline() -> object:
        return art.certify(array, n, batch_size=batch)

    def ours() -> object:
        return certify(network, mine, sigma=SIGMA, n0=N0, n=n, early_abstention=False).radii

    theirs, our = alternate(baseline, ours, options.repeats(21), options.device)
    label = f"{name}: ART with batches of {batch}"
    goal = GOAL if batch == 32 else None
    return Row(label, [1e3 * t for t in theirs], [1e3 * t for t in our], "ms an image", "at least", goal)


def _memory(options: Options) -> Row:
    """Compare what many samples take with what few take, each in fresh processes."""
    repeats = 1 if options.quick else 3
    most = 10_000 if options.quick else 100_000
    few, many = ([_growth_elsewhere(n) for _ in range(repeats)] for n in (1_000, most))
    return Row(f"memory, 3,072 pixels: n = 1,000 / n = {most:,}", few, many, "MiB", "at most", MEMORY_GOAL)


def _growth_elsewhere(n: int) -> float:
    call = [sys.executable, str(Path(__file__)), str(n)]
    done = subprocess.run(call, capture_output=True, text=True, check=True, cwd=Path(__file__).parent)
    return float(json.loads(done.stdout))


def _growth(n: int) -> float:
    """Return how many MiB of resident memory certifying one image takes at its peak, beyond what was there before."""
    torch.set_num_threads(1)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10)).eval()  # takes little itself
    image = torch.zeros(1, 3, 32, 32)
    certify(network, image, sigma=SIGMA, n=200, early_abstention=False)
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak is now what is there
    before = _resident_peak()
    certify(network, image, sigma=SIGMA, n=n, early_abstention=False)
    return _resident_peak() - before


def _resident_peak() -> float:
    """Return the peak of this process's resident memory in MiB, as Linux counts it."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 2**10


if __name__ == "__main__":
    print(json.dumps(_growth(int(sys.argv[1]))))
