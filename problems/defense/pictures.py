"""Panels that show what a defense does to images: clean, noisy, denoised, each with the class that it is taken for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from problems.defense.classifiers.fixed import predicted_labels
from zotoolkit.checks import check_positive
from zotoolkit.errors import InvalidSetting, brief
from zotoolkit.figures.canvas import check_matplotlib, encoded
from zotoolkit.files import write_bytes
from zotoolkit.seeding import check_seed, torch_generator

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Denoise = Callable[[Tensor], Tensor]

_NOISE_DRAW = 0xDEA
_INK, _RIGHT, _WRONG = "#1b1f24", "#00795a", "#c04e00"  # told apart by colour-blind readers too, and by their marks
_CELL = 0.92  # inches
_SETTINGS: Any = {"font.family": "DejaVu Sans", "font.size": 8.5, "mathtext.fontset": "dejavusans", "text.color": _INK}


def draw_panels(
    images: Tensor,
    sigma: float,
    denoisers: Mapping[str, Denoise],
    *,
    labels: Tensor | None = None,
    classifier: Any = None,
    names: Sequence[str] | None = None,
    seed: int = 0,
    title: str = "",
) -> bytes:
    """Draw a few images: one column each; rows are the clean image, the noisy one and what each denoiser makes of it.

    Pixels outside [0, 1] are cut off in the picture, and only there.

    Args:
        images: `(n, C, H, W)` clean images in [0, 1], grey (C = 1) or coloured (C = 3); some six to twelve.
        sigma: Standard deviation of the noise.
        denoisers: By the name of their row: torch modules, or other functions from `(n, C, H, W)` to the same.
        labels: `(n,)` true classes; what the classifier takes an image for is then marked right or wrong.
        classifier: A torch module or scikit-learn estimator, whose answer stands under each image; None for none.
        names: Of the classes; None for their numbers.
        seed: Of the noise.
        title: Above the panels.

    Returns:
        A PNG. The same arguments give the same file.

    Raises:
        InvalidSetting: If images, labels or what a denoiser returns have another shape, or sigma is not above 0.
        MissingExtra: If matplotlib is not installed.
    """
    _check(images, labels, sigma, denoisers)
    noise = torch.randn(images.shape, generator=torch_generator(check_seed(seed), _NOISE_DRAW))
    noisy = images + sigma * noise
    rows = {"clean": images, rf"noisy, $\sigma$ = {sigma:g}": noisy}
    for name, denoise in denoisers.items():
        rows[name] = _denoised(denoise, noisy, name)
    return _drawn(rows, labels, classifier, names, title)


def write_panels(path: str | Path, images: Tensor, sigma: float, denoisers: Mapping[str, Denoise], **more: Any) -> Path:
    """Write what `draw_panels` draws to a PNG file, whole or not at all, and return its path.

    Raises:
        ResultsUnwritable: If it cannot be written.
    """
    path = Path(path)
    write_bytes(path, draw_panels(images, sigma, denoisers, **more))
    return path


def _check(images: object, labels: object, sigma: object, denoisers: object) -> None:
    if not isinstance(images, Tensor) or images.ndim != 4 or images.shape[1] not in (1, 3) or not images.numel():
        raise InvalidSetting(f"images must have shape (n, 1 or 3, H, W), got {brief(images)}.")
    if labels is not None and (not isinstance(labels, Tensor) or labels.shape != images.shape[:1]):
        raise InvalidSetting(f"labels must have shape ({len(images)},), one an image, got {brief(labels)}.")
    if not isinstance(denoisers, Mapping):
        raise InvalidSetting(f"denoisers must be a dict of functions by name, got {brief(denoisers)}.")
    check_positive(sigma, "sigma")


def _denoised(denoise: Denoise, noisy: Tensor, name: str) -> Tensor:
    training = isinstance(denoise, nn.Module) and denoise.training
    if isinstance(denoise, nn.Module):
        denoise.eval()  # these few images must not enter its statistics
    try:
        with torch.no_grad():
            out = denoise(noisy)
    finally:
        if isinstance(denoise, nn.Module):
            denoise.train(training)
    if not isinstance(out, Tensor) or out.shape != noisy.shape:
        raise InvalidSetting(f"denoiser {name!r} must return images of shape {tuple(noisy.shape)}, got {brief(out)}.")
    return out.detach().cpu()


def _drawn(
    rows: Mapping[str, Tensor], labels: Tensor | None, classifier: Any, names: Sequence[str] | None, title: str
) -> bytes:
    check_matplotlib()
    import matplotlib
    from matplotlib.figure import Figure

    count = len(next(iter(rows.values())))
    answered = classifier is not None
    with matplotlib.rc_context(_SETTINGS):
        # Names of the rows stand to the left, answers under the images.
        left, above, below = 1.35, 0.34 if title else 0.06, 0.22 if answered else 0.06
        width, height = left + count * _CELL, above + len(rows) * (_CELL + below)
        figure = Figure(figsize=(width, height))
        for line, (name, block) in enumerate(rows.items()):
            answers = predicted_labels(classifier, block) if answered else None
            bottom = height - above - (line + 1) * (_CELL + below) + below
            for column in range(count):
                place = (left + column * _CELL, bottom, _CELL * 0.94, _CELL * 0.94)
                axes = figure.add_axes((place[0] / width, place[1] / height, place[2] / width, place[3] / height))
                _show(axes, block[column])
                if answers is not None:
                    truth = None if labels is None else int(labels[column])
                    _say(axes, int(answers[column]), truth, names)
            middle = (bottom + _CELL * 0.47) / height
            figure.text((left - 0.12) / width, middle, name, ha="right", va="center")
        figure.text(0.1 / width, 1 - 0.1 / height, title, ha="left", va="top", fontweight="bold", fontsize=9.5)
        return encoded(figure, "png", "panels", facecolor="white")


def _show(axes: Axes, image: Tensor) -> None:
    pixels = image.clamp(0, 1).permute(1, 2, 0).numpy()
    grey = pixels.shape[2] == 1
    axes.imshow(pixels[:, :, 0] if grey else pixels, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_axis_off()


def _say(axes: Axes, answer: int, truth: int | None, names: Sequence[str] | None) -> None:
    text = str(answer) if names is None else names[answer]
    if truth is not None:
        text += " ✓" if answer == truth else " ✗"
    colour = _INK if truth is None else _RIGHT if answer == truth else _WRONG
    axes.text(0.5, -0.04, text, transform=axes.transAxes, ha="center", va="top", color=colour)
