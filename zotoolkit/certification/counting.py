"""Asks a classifier about an image's noisy samples, in chunks, and counts the answers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zotoolkit.certification.classifiers import Predict
from zotoolkit.certification.counts import ABSTAIN, ImageCounts, Tally
from zotoolkit.certification.noise import Stage, noisy
from zotoolkit.certification.settings import SmoothingSettings
from zotoolkit.certification.stopping import StoppingRule
from zotoolkit.errors import InputMutated, InvalidAnswers, ZotoolkitError, brief

_WINDOW_CPU = 1 << 17  # numbers of noise made at a time when chunks are small: enough rows for fast kernels
_WINDOW_GPU = 1 << 22


class Asker:
    """A classifier and how it is asked.

    A chunk that raises is asked again in halves, until the queries that cannot be answered stand alone: these count as
    failed. A chunk that does not fit into memory is halved for good. An error of zotoolkit's own, such as a spent
    budget, ends the certification.

    Args:
        predict: Answers `(m, *shape)` images.
        chunk: Most images that are sent together.
        classes: Number of classes; None to learn it from the first scores.

    Attributes:
        chunk: Most images that are sent together, smaller once memory has run out.
        classes: Number of classes, None while it is not known.
        said: What the last query that failed by raising said.
    """

    def __init__(self, predict: Predict, chunk: int, classes: int | None = None) -> None:
        self._predict = predict
        self.chunk = chunk
        self.classes = classes
        self.said = ""

    def labels(self, images: Tensor) -> NDArray[np.int64]:
        """Return `(m,)` int64 labels, -1 where a query failed.

        Raises:
            InvalidAnswers: If the classifier answers with anything but labels or scores, one row an image.
            InputMutated: If it writes into the images.
        """
        answers: list[NDArray[np.int64]] = []
        position = 0
        while position < len(images):
            part = images[position : position + self.chunk]
            try:
                answers.append(self._answer(part))
            except (MemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error) or len(part) == 1:
                    raise
                self.chunk = len(part) // 2
            else:
                position += len(part)
        return np.concatenate(answers)

    def _answer(self, images: Tensor) -> NDArray[np.int64]:
        """Return the labels of one chunk, halving it around queries that raise."""
        version = None if images.is_inference() else images._version  # inference tensors cannot tell
        try:
            with torch.no_grad():
                answer = self._predict(images)
        except ZotoolkitError:
            raise
        except Exception as error:
            self._check_untouched(images, version)
            if _is_out_of_memory(error):
                raise
            if len(images) == 1:
                self.said = f"{type(error).__name__}: {error}"
                return np.full(1, ABSTAIN, dtype=np.int64)
            return np.concatenate([self._answer(half) for half in images.split((len(images) + 1) // 2)])
        self._check_untouched(images, version)
        return self._read(answer, len(images))

    def stream(self, image: Tensor, key: int, stage: Stage, count: int, sigma: float, seed: int) -> Iterator[NDArray]:
        """Yield the `(m,)` labels of an image's noisy samples, chunk by chunk, in order; holds one window of noise."""
        size = max(1, image.numel())
        numbers = _WINDOW_GPU if image.is_cuda else _WINDOW_CPU
        start = 0
        while start < count:
            window = self.chunk * max(1, numbers // (self.chunk * size))
            stop = min(count, start + window)
            images = noisy(image, sigma, seed, key, stage, start, stop)
            while len(images):  # the chunk may shrink on the way
                part, images = images[: self.chunk], images[self.chunk :]
                yield self.labels(part)
            start = stop

    def _read(self, answer: object, count: int) -> NDArray[np.int64]:
        """Return the labels in an answer.

        Raises:
            InvalidAnswers: If it is of another form.
        """
        try:
            values = torch.as_tensor(answer).detach()
        except (TypeError, ValueError, RuntimeError) as error:
            raise InvalidAnswers(
                f"the classifier must return ({count},) labels or ({count}, classes) scores, got {brief(answer)}."
            ) from error
        if values.ndim not in (1, 2) or len(values) != count:
            raise InvalidAnswers(
                f"the classifier was asked about {count} images and must return ({count},) labels or "
                f"({count}, classes) scores, got {brief(values)}."
            )
        return self._read_labels(values) if values.ndim == 1 else self._read_scores(values)

    def _read_labels(self, values: Tensor) -> NDArray[np.int64]:
        if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
            raise InvalidAnswers(f"labels must be integers, got {brief(values)}; scores must be (m, classes).")
        labels = values.to(torch.int64).cpu().numpy()
        top = int(labels.max(initial=ABSTAIN))
        if int(labels.min(initial=0)) < ABSTAIN or (self.classes is not None and top >= self.classes):
            wrong = labels[(labels < ABSTAIN) | (labels >= (top + 1 if self.classes is None else self.classes))][0]
            known = "" if self.classes is None else f" below classes={self.classes}"
            raise InvalidAnswers(f"labels must be at least 0{known}, or -1 for a failed query, got {int(wrong)}.")
        return labels

    def _read_scores(self, values: Tensor) -> NDArray[np.int64]:
        if values.is_complex() or values.dtype == torch.bool:
            raise InvalidAnswers(f"scores must be real numbers, got {brief(values)}.")
        if values.shape[1] < 2:
            raise InvalidAnswers(
                f"scores must have a column for each of at least 2 classes, got {brief(values)}; of a single column "
                "make labels, or two columns."
            )
        if self.classes is None:
            self.classes = values.shape[1]
        if values.shape[1] != self.classes:
            raise InvalidAnswers(f"scores must have classes={self.classes} columns, got {brief(values)}.")
        labels = values.argmax(dim=1)
        if values.is_floating_point():
            labels.masked_fill_(values.isnan().any(dim=1), ABSTAIN)
        return labels.cpu().numpy()

    @staticmethod
    def _check_untouched(images: Tensor, version: int | None) -> None:
        if version is not None and images._version != version:
            raise InputMutated("the classifier wrote into the images it was given; work on a clone.")


def count_image(asker: Asker, image: Tensor, index: int, settings: SmoothingSettings) -> ImageCounts:
    """Count the votes of one image: the selection stage, then the estimation stage.

    Args:
        asker: Whom to ask.
        image: `(*shape)` floating point.
        index: The image's key.
        settings: Of the certification.
    """
    selection, estimation = Tally(), Tally()
    for labels in asker.stream(image, index, Stage.SELECTION, settings.n0, settings.sigma, settings.seed):
        selection.add(labels)
    selected = selection.top()
    rule = settings.stopping_rule()
    if selected == ABSTAIN or _hopeless(rule):
        return ImageCounts(index, selection, estimation)
    hits = 0
    for labels in asker.stream(image, index, Stage.ESTIMATION, settings.n, settings.sigma, settings.seed):
        end = None if rule is None else rule.first_stop(labels, selected, estimation.asked, hits)
        counted = labels if end is None else labels[:end]
        estimation.add(counted)
        hits += int((counted == selected).sum())
        if end is not None:
            break
    return ImageCounts(index, selection, estimation)


def _hopeless(rule: StoppingRule | None) -> bool:
    """Whether n is too small to certify anything, so that there is nothing to ask for."""
    zero = np.zeros(1, dtype=np.int64)
    return rule is not None and bool(rule.stops(zero, zero)[0])


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
