"""Figures of the comparison of defenses: certified accuracy against radius, and what the defended forest sees.

    python benchmarks/reproduce/defense_modes.py
    python benchmarks/reproduce/defense_figures.py

The second command reads what the first one wrote, in whichever pieces, and trains nothing.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import defense_modes as modes
from experiment import HERE

from problems.defense import DefenseImages, defend_digits
from problems.defense.classifiers import random_forest
from problems.defense.pictures import write_panels
from zotoolkit.certification.plots import draw_curves
from zotoolkit.checkpoint import load_state
from zotoolkit.errors import ZotoolkitError
from zotoolkit.files import read_json, write_bytes

FIGURES = HERE.parents[1] / "docs" / "figures"
SHOWN = 9
# Of thirteen ways, what can still be told apart in one picture.
DRAWN = (modes.UNDEFENDED, modes.DS_MSE, modes.DS_RGE, modes.AE_RGE, modes.DEEP_ZERO, modes.FO_AE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw all that there is and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="of the smallest setting")
    parser.add_argument("--device", default="cpu", help="that was trained on")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="--out of the first command")
    parser.add_argument("--figures", type=Path, default=FIGURES, help="folder for the PNG files")
    given = parser.parse_args(arguments)
    size = "quick" if given.quick else "small"
    stem = f"{modes.EXPERIMENT.name}-{size}-{given.device.replace(':', '')}"
    try:
        content = read_json(given.results / f"{stem}.json", "table")
        results = {run["name"]: run for run in content["runs"]}
        for path in [*_curves(size, results, given.figures), *_panels(size, given.results / "runs" / stem, given)]:
            print(path)
    except ZotoolkitError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    return 0


def _curves(size: str, results: Mapping[str, Mapping[str, Any]], folder: Path) -> list[Path]:
    setting = modes.SIZES[size]
    wanted = {modes.CNN: DRAWN, **dict.fromkeys(setting.trees, setting.tree_ways)}
    written: list[Path] = []
    for classifier, ways in wanted.items():
        found = modes.curves(size, results, classifier, ways)
        if found:
            title = f"{classifier if classifier != modes.CNN else 'CNN'}, sigma = {modes.SIGMA:g}"
            path = folder / f"defense-{classifier}.png"
            write_bytes(path, _small(draw_curves(found, title=title[0].upper() + title[1:]).files["png"]))
            written.append(path)
    return written


def _small(content: bytes) -> bytes:
    """Return a PNG with 128 colours, which overlapping bands do well with, at half the size."""
    from PIL import Image  # comes with matplotlib

    buffer = io.BytesIO()
    with Image.open(io.BytesIO(content)) as image:
        image.convert("RGB").quantize(128).save(buffer, "png", optimize=True)
    return buffer.getvalue()


def _panels(size: str, runs: Path, given: argparse.Namespace) -> list[Path]:
    """Draw digits on their way to the forest, if it has been defended."""
    trained = runs / modes.run_name(modes.FOREST, modes.AE_RGE, modes.SIGMA, 0) / "trained"
    if not trained.exists():
        return []
    images = DefenseImages.digits()
    objective = defend_digits(sigma=modes.SIGMA, device=given.device, **modes.SIZES[size].problem)
    x0, _ = objective.reset(seed=0)
    state, _ = load_state(trained)
    defense = objective.defended(state["x"].to(x0)).cpu()
    # The first of each class but one, so that the picture is no choice of good ones.
    rows = [int((images.test_labels == label).nonzero()[0]) for label in range(SHOWN)]
    path = write_panels(
        given.figures / "defense-panels.png",
        images.test[rows],
        modes.SIGMA,
        {"denoised (MSE)": objective.defense.cpu().front.denoiser, "defended": defense},
        labels=images.test_labels[rows],
        classifier=random_forest(images).model,
    )
    return [path]


if __name__ == "__main__":
    sys.exit(main())
