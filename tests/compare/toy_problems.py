"""Problems for the tests of comparisons, registered by importing this file, as `--import FILE` does."""

from __future__ import annotations

import os
import signal
import struct
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

import zotoolkit
from zotoolkit.figures import Drawing
from zotoolkit.seeding import torch_generator

# One white pixel.
GIF = (
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
)


def png(width: int = 3, height: int = 2, grey: int = 128) -> bytes:
    """A grey PNG."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = (b"\0" + bytes([grey]) * width) * height
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


class Quadratic(zotoolkit.BlackBoxObjective):
    """sum (x - 1)^2 from x0 = 3, with optional noise, slowness and mishaps.

    Args:
        dim: Number of coordinates.
        noise: Standard deviation of the noise; above 0 only the truth is kept apart.
        seconds: Slept in every batch.
        truth: Whether the noise-free loss is known.
        broken: Whether every query fails.
        die_at: Context at which the process kills itself, once, as the marker tells.
        marker: File that is made before that.
    """

    def __init__(
        self,
        dim: int = 3,
        noise: float = 0.0,
        seconds: float = 0.0,
        truth: bool = True,
        broken: bool = False,
        die_at: int | None = None,
        marker: str = "",
    ) -> None:
        super().__init__(zotoolkit.make_space(dim, -10, 10, dtype="float64"))
        self.noise, self.seconds, self.truth, self.broken = noise, seconds, truth, broken
        self.die_at, self.marker = die_at, marker
        self.metadata = {"optimum": 0.0}

    def start(self) -> torch.Tensor:
        return torch.full((self.dim,), 3.0, dtype=torch.float64)

    def evaluate(self, x: torch.Tensor, context: int) -> torch.Tensor:
        if self.broken:
            raise ValueError("this problem is broken")
        if self.die_at is not None and context >= self.die_at and not Path(self.marker).exists():
            Path(self.marker).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(self.seconds)
        noise = torch.randn(1, generator=torch_generator(self.seed, context), dtype=x.dtype)
        return ((x - 1) ** 2).sum(dim=1) + self.noise * noise

    def noise_free(self, x: torch.Tensor) -> torch.Tensor | None:
        return ((x - 1) ** 2).sum(dim=1) if self.truth else None

    def metrics(self, x: torch.Tensor) -> dict[str, float]:
        return {"distance": float((x - 1).norm())}


class Drawn(Quadratic):
    """The quadratic, with a picture of how far the points of each solver are from the optimum.

    Args:
        how: "well", "badly" (what comes back is no picture) or "not" (it raises).
    """

    def __init__(self, how: str = "well") -> None:
        super().__init__()
        self.how = how

    def pictures(self, points: Mapping[str, Mapping[int, torch.Tensor]]) -> Sequence[Drawing]:
        if self.how == "not":
            raise ZeroDivisionError("nothing to divide by")
        said = [
            f"{solver} {', '.join(f'seed {seed}: {float((x - 1).norm()):.3f}' for seed, x in seeds.items())}"
            for solver, seeds in points.items()
        ]
        found = [
            Drawing("distances", f"Distances & more of {'; '.join(said)}.", png(1400, 300)),
            Drawing("film", "A film.", GIF),
        ]
        return found if self.how == "well" else [*found, found[0]]

    def final_metrics(self, x: torch.Tensor) -> dict[str, float]:
        return {"test_sum": float(x.sum())}


zotoolkit.register("Toy/Drawn-v0", Drawn, description="the quadratic, with pictures")
zotoolkit.register("Toy/Quadratic-v0", Quadratic, description="a quadratic that can be slow, noisy, broken or deadly")
zotoolkit.register(
    "Toy/Ready-v0", Quadratic, description="the quadratic with a solver of its own", solver="ZO/SGD-CGE-v0", budget=40
)
