"""Train a fixed classifier for CIFAR-10 from the command line.

    python -m problems.defense.classifiers.train_resnet --depth 20 --root DIR --out FILE --epochs 40 --device cuda

The same command goes on after a kill, Ctrl-C or the time limit. Exit codes: 0 the file is there; 1 an error; 2 bad
usage; 3 the time limit was reached; 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from problems.defense.classifiers.resnet_training import Recipe, TimeUp, train_resnet
from problems.dnn.data import cifar10
from zotoolkit.checks import check_device, check_positive
from zotoolkit.errors import ZotoolkitError

_FAILED, _MORE_TO_DO, _INTERRUPTED = 1, 3, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line asks for and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="train_resnet", description="Train a residual network on CIFAR-10.", allow_abbrev=False
    )
    recipe = Recipe()
    parser.add_argument("--depth", type=int, default=recipe.depth, help="6n + 2 (default %(default)s)")
    parser.add_argument("--root", type=Path, help="where CIFAR-10 lies; by default what ZOTOOLKIT_DATA names")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="safetensors file to write")
    parser.add_argument("--epochs", type=int, default=recipe.epochs, help="default %(default)s")
    parser.add_argument("--batch-size", type=int, default=recipe.batch_size, help="default %(default)s")
    parser.add_argument("--lr", type=float, default=recipe.lr, help="highest learning rate (default %(default)s)")
    parser.add_argument("--momentum", type=float, default=recipe.momentum, help="default %(default)s")
    parser.add_argument("--weight-decay", type=float, default=recipe.weight_decay, help="default %(default)s")
    parser.add_argument("--seed", type=int, default=recipe.seed, help="default %(default)s")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:1, ...")
    parser.add_argument("--time-limit", type=float, metavar="SECONDS", help="stop after so long; run it again to go on")
    parser.add_argument("--checkpoint-seconds", type=float, default=60.0, help="between checkpoints (default 60)")
    given = parser.parse_args(arguments)
    try:
        recipe = Recipe(*(getattr(given, name) for name in vars(recipe)))
        check_device(given.device)
        for name in ("time_limit", "checkpoint_seconds"):
            if getattr(given, name) is not None:
                check_positive(getattr(given, name), name)
        known = train_resnet(
            cifar10(given.root),
            recipe,
            given.out,
            device=given.device,
            time_limit=given.time_limit,
            checkpoint_seconds=given.checkpoint_seconds,
        )
    except TimeUp:
        sys.stderr.write("the time is up; the same command goes on\n")
        return _MORE_TO_DO
    except KeyboardInterrupt:
        sys.stderr.write("stopped; the same command goes on\n")
        return _INTERRUPTED
    except ZotoolkitError as error:
        sys.stderr.write(f"train_resnet: {error}\n")
        return _FAILED
    seconds = f"{known['seconds']:,.0f} s on {known['device']}"
    sys.stdout.write(f"ResNet-{recipe.depth}: test accuracy {known['accuracy']:.2%} after {seconds}: {given.out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
