"""Randomised smoothing: certify what a classifier predicts within an l2 ball, by asking it under Gaussian noise.

The smoothed classifier g answers x with the class that the classifier f answers x + noise with most often, where the
noise is normal with standard deviation sigma. For each image

    1. SELECT   n0 noisy samples vote for a class A
    2. CERTIFY  n fresh samples, k of them vote A; p_A = one-sided Clopper-Pearson lower bound of P(f(x + noise) = A)
    3. where p_A < 1/2 abstain; else g is constant = A within the radius sigma Phi^-1(p_A), with probability 1 - alpha

Nothing is assumed about f: it may be a tree, a program or a person. Nothing is clipped, since the theorem is about
x + noise as it is; predictions are never cached, since n answers that were given once are not n samples.

Source: Cohen, Rosenfeld and Kolter, Certified adversarial robustness via randomized smoothing, ICML 2019, algorithm
CERTIFY.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from zotoolkit.certification.bounds import least_count, warn_of_radii
from zotoolkit.certification.certificate import Certification
from zotoolkit.certification.classifiers import as_predict
from zotoolkit.certification.counting import Asker, count_image
from zotoolkit.certification.counts import ImageCounts
from zotoolkit.certification.inputs import check_images, check_indices, check_labels, fingerprint
from zotoolkit.certification.settings import SmoothingSettings
from zotoolkit.certification.store import CountStore
from zotoolkit.checks import check_count, check_least
from zotoolkit.errors import CheckpointMismatch, ClassifierFailed, InvalidImages

_PATIENCE = 3
"""Images in a row without a single answer after which the classifier counts as dead."""


def certify(
    predict: object,
    x: Tensor | NDArray,
    y: Tensor | NDArray | Sequence[int] | None = None,
    *,
    sigma: float,
    n0: int = 100,
    n: int = 10_000,
    alpha: float = 0.001,
    seed: int = 0,
    classes: int | None = None,
    chunk: int = 128,
    early_abstention: bool = True,
    futility: float | None = None,
    indices: Tensor | NDArray | Sequence[int] | None = None,
    radii: Iterable[float] = (),
    probe: Tensor | NDArray | None = None,
    store: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> Certification:
    """Certify a classifier's smoothed predictions.

    The noise is a function of (seed, image, stage, block of samples), so neither the chunk size nor who certifies which
    images nor an interruption changes a count, as long as the classifier answers an image the same way whatever it is
    sent together with. Memory does not depend on n: besides x and the counts it is one window of noise.

    A query fails if its score row holds a NaN, its label is -1, or the classifier raises on it alone: what raises is
    asked again in halves. A failed query counts as "not the selected class", so failures make certificates smaller and
    never wrong. Errors of zotoolkit, such as a spent budget, are passed on; what is in the store stays there.

    Args:
        predict: Takes `(m, *shape)` tensors; returns `(m,)` integer labels, -1 for a query that failed, or
            `(m, classes)` scores. Also a torch module in evaluation mode, a fitted scikit-learn classifier, or anything
            with a method `predict` of tensors.
        x: `(N, *shape)` images, float32 or float64, in the range that the classifier takes.
        y: `(N,)` true classes, for accuracies; None if they are not known.
        sigma: Standard deviation of the noise, in units of the images.
        n0: Samples that choose the class.
        n: Samples that bound its probability.
        alpha: Probability at most with which an image's certificate is wrong; of many images each.
        seed: Of the noise.
        classes: Number of classes; None learns it from scores.
        chunk: Most images that are sent together. 128 suits networks on a CPU; tree ensembles, GPUs and services with
            large batches want thousands.
        early_abstention: Stop asking about an image as soon as it must abstain even if all remaining samples agreed.
            No outcome changes, see `zotoolkit.certification.stopping`; a larger alpha may then be refused afterwards.
        futility: Also give up on images that are unlikely to be certified, at the price of losing one with p_A >= 1/2
            with probability at most this; None for never. Sound as well.
        indices: `(N,)` keys of the images, to which the noise belongs; by default 0 to N - 1. Workers that share the
            images out pass each image's place in the whole, and `merge` puts the parts together.
        radii: Which radii will be asked for, to be warned before anything is spent.
        probe: `(p, *shape)` fixed inputs; the labels on them are kept in the store and asked again when it is
            continued, so that it never mixes two classifiers.
        store: Folder that keeps each finished image's counts and is continued if it is there; for one process at a
            time.
        progress: Whether to show a progress bar on standard error.

    Returns:
        The certificates, in the order of x.

    Raises:
        InvalidSetting: If a setting is out of its range, or predict no classifier.
        InvalidImages: If x or probe is empty, not floating point or not finite.
        InvalidLabels: If y does not fit.
        InvalidAnswers: If the classifier answers with anything but labels or scores, one row an image.
        ClassifierFailed: If no query about 3 images in a row, or about any image, was answered.
        CheckpointMismatch: If the store holds counts made otherwise.
        CheckpointDamaged: If the store cannot be read.
        ResultsUnwritable: If the store cannot be written.

    Warns:
        RadiusWarning: If n samples cannot certify one of `radii`, or anything at all.

    Examples:
        >>> import torch
        >>> x = torch.tensor([[-1.0], [0.01], [0.5]])
        >>> c = certify(lambda images: (images[:, 0] > 0).long(), x, y=[0, 1, 1], sigma=0.5, n=1000)
        >>> c.predicted.tolist(), [round(float(r), 2) for r in c.radii]
        ([0, -1, 1], [0.92, 0.0, 0.4])
        >>> float(c.certified_accuracy(0.3).round(2)), round(c.abstention_rate, 2)
        (0.67, 0.33)
    """
    settings = SmoothingSettings(sigma, n0, n, alpha, seed, early_abstention, futility, classes)
    images = check_images(x)
    labels = None if y is None else check_labels(y, len(images), classes)
    keys = check_indices(indices, len(images))
    warn_of_radii([check_least(radius, 0, "radius") for radius in radii], settings.n, settings.alpha, settings.sigma)
    asker = Asker(as_predict(predict), check_count(chunk, "chunk"), classes)
    found = None if store is None else CountStore(Path(store), settings, _probed(asker, probe, images))
    if probe is not None and store is None:
        _probed(asker, probe, images)
    run = _Run(asker, settings, found)
    with tqdm(total=len(images), unit=" images", file=sys.stderr, dynamic_ncols=True, disable=not progress) as bar:
        for row, key in enumerate(keys):
            run.take(images[row], key, None if labels is None else int(labels[row]))
            if row == 0 and labels is not None:
                check_labels(labels, len(labels), asker.classes)  # scores have told by now how many classes there are
            bar.set_postfix_str(f"{run.certified} certified", refresh=False)
            bar.update()
    return Certification(settings, run.finish(), settings.alpha)


def merge(parts: Sequence[Certification]) -> Certification:
    """Return the certification of all images that workers have certified in parts, in the order of their keys.

    Args:
        parts: Made with the same settings, no image in two of them.

    Raises:
        CheckpointMismatch: If settings or alphas differ, an image comes twice, or there is no part.
    """
    if not parts:
        raise CheckpointMismatch("there must be at least one part to merge, got none.")
    first = parts[0]
    for part in parts:
        if part.settings != first.settings or part.alpha != first.alpha:
            raise CheckpointMismatch(
                f"parts must be made with the same settings, got {first.settings} and {part.settings}, "
                f"at alpha={first.alpha:g} and {part.alpha:g}."
            )
    images = sorted((image for part in parts for image in part.images), key=lambda image: image.index)
    for one, two in pairwise(images):
        if one.index == two.index:
            raise CheckpointMismatch(f"image {one.index} is in two parts; share the images out without overlap.")
    return Certification(first.settings, tuple(images), first.alpha)


class _Run:
    """Counts images one after the other, or takes them from the store."""

    def __init__(self, asker: Asker, settings: SmoothingSettings, store: CountStore | None) -> None:
        self._asker = asker
        self._settings = settings
        self._store = store
        self._counts: list[ImageCounts] = []
        # Images without any answer wait here: if the classifier is dead, the next run must ask about them again.
        self._unanswered: list[ImageCounts] = []
        self._answered = False
        self._least = least_count(settings.n, settings.alpha)
        self.certified = 0

    def take(self, image: Tensor, key: int, label: int | None) -> None:
        name = fingerprint(image)
        kept = None if self._store is None else self._store.images.get(key)
        if kept is not None:
            self._answered = True
            self._append(replace(kept, label=label))
            if kept.fingerprint != name:
                raise CheckpointMismatch(
                    f"the store has counts of another image under key {key}; choose another folder or the same images."
                )
            if kept.label != label:
                self._keep(self._counts[-1:])
            return
        counts = replace(count_image(self._asker, image, key, self._settings), label=label, fingerprint=name)
        self._append(counts)
        if counts.selected < 0:
            self._unanswered.append(counts)
            if len(self._unanswered) == _PATIENCE:
                self._give_up()
            return
        self._answered = True
        self._keep([*self._unanswered, counts])
        self._unanswered = []

    def finish(self) -> tuple[ImageCounts, ...]:
        if not self._answered:
            self._give_up()
        self._keep(self._unanswered)
        return tuple(self._counts)

    def _append(self, counts: ImageCounts) -> None:
        self._counts.append(counts)
        self.certified += counts.estimation.asked == self._settings.n and counts.successes >= self._least

    def _keep(self, finished: list[ImageCounts]) -> None:
        if self._store is not None:
            for counts in finished:
                self._store.add(counts)

    def _give_up(self) -> None:
        said = f" The last one said: {self._asker.said}." if self._asker.said else " Its answers were NaN or -1."
        raise ClassifierFailed(
            f"the classifier answered none of the queries about {len(self._unanswered)} images in a row.{said}"
        )


def _probed(asker: Asker, probe: object, images: Tensor) -> dict[str, Any] | None:
    """Return the probe's fingerprint and the classifier's labels on it."""
    if probe is None:
        return None
    inputs = check_images(probe).to(images.device)
    if inputs.shape[1:] != images.shape[1:]:
        raise InvalidImages(
            f"probe must have the images' shape (p, {', '.join(map(str, images.shape[1:]))}), "
            f"got {tuple(inputs.shape)}."
        )
    labels = asker.labels(inputs.clone())
    return {"images": fingerprint(inputs), "labels": labels.tolist()}
