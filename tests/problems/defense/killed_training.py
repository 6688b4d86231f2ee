"""Run by test_defend_classifier.py: a training that is killed and resumed, compared with a whole one."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch
from typing_extensions import override

import zotoolkit
from problems.defense.recipes import zo_ae_ds
from tests.problems.defense import small

BUDGET = 8 * 4 + 1


class Kill(zotoolkit.Callback):
    """Kills this process once an iteration has been told and its checkpoint written."""

    def __init__(self, at: int | None) -> None:
        self.at = at

    @override
    def on_iteration(self, run: zotoolkit.Run) -> None:
        if run.iteration == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def go(folder: Path | None, at: int | None = None, *, resume: bool = False) -> tuple[zotoolkit.Result, int]:
    made = small.objective(small.model("label"))  # mu is found by a probe here
    result = zotoolkit.minimize(
        made,
        zo_ae_ds(lr=0.01, q=4, iterations=4),
        budget=BUDGET,
        seed=3,
        progress=False,
        callbacks=[Kill(at)],
        checkpoint=folder,
        checkpoint_iterations=1,
        resume=resume,
    )
    return result, made.model.ledger.of("training").sent


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    whole, sent = go(None)
    child = os.fork()
    if child == 0:
        go(folder, 3)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    resumed, sent_again = go(folder, resume=True)
    same = torch.equal(resumed.x, whole.x) and resumed.metrics == whole.metrics and resumed.value == whole.value
    print("killed", os.WIFSIGNALED(status), "equal", same, "sent", sent == sent_again)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
