"""Run by test_store.py: certifies into a folder and is killed at random moments; each process goes on from the last.

The processes are forked from here, so that each costs no import. Prints how often one was killed in the middle, and
whether the counts are those of an undisturbed run.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

from zotoolkit.certification import certify

IMAGES = 60
KILLS = 6


def slow(images: Tensor) -> Tensor:
    time.sleep(0.0005)
    return (images.flatten(1).sum(1) > 0).long()


def go(folder: Path | None) -> list[dict[str, object]]:
    x = torch.linspace(-1, 1, IMAGES)[:, None].expand(-1, 8)
    found = certify(slow, x, [0] * IMAGES, sigma=1.0, n=1000, seed=3, chunk=64, probe=x[:2], store=folder)
    return [image.as_dict() for image in found.images]


def main(folder: Path) -> None:
    chance = random.Random()
    whole = go(None)  # what is imported on the way is imported before the forks
    file = folder / "counts.jsonl"
    killed = 0
    for _ in range(KILLS):
        child = os.fork()
        if child == 0:
            go(folder)
            os._exit(0)
        before = file.stat().st_size if file.exists() else 0
        while not file.exists() or file.stat().st_size == before:
            time.sleep(0.0005)
            if os.waitpid(child, os.WNOHANG)[0]:
                print("the run ended before it was killed: make it longer")
                return
        time.sleep(chance.uniform(0.0, 0.06))
        os.kill(child, signal.SIGKILL)
        killed += os.WIFSIGNALED(os.waitpid(child, 0)[1])
    lines = file.read_bytes().count(b"\n")
    print("killed", killed, "in the middle", 0 < lines < IMAGES, "equal", go(folder) == whole)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
