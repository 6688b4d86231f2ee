"""What a classifier answered, and whether that is what it promised."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from zotoolkit.errors import InvalidAnswers, brief

Access = Literal["logits", "proba", "label"]
ACCESSES: tuple[Access, ...] = ("logits", "proba", "label")


@dataclass(frozen=True)
class Answers:
    """What came back for m images.

    Attributes:
        labels: `(m,)` int64, -1 where the query failed.
        scores: `(m, classes)` float32 logits or probabilities, NaN rows where the query failed; None for label access.
        errors: A sentence for each row that failed.
    """

    labels: Tensor
    scores: Tensor | None
    errors: dict[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return m."""
        return len(self.labels)

    @property
    def failed(self) -> Tensor:
        """`(m,)` bool, True where the query failed."""
        return self.labels < 0


@dataclass(frozen=True)
class Form:
    """What a classifier promises of its answers.

    Attributes:
        access: "logits", "proba" or "label".
        classes: Number of classes.
        tolerance: How far the sum of a row of probabilities may be from 1.
        name: Who answers, for messages.
    """

    access: Access
    classes: int
    tolerance: float
    name: str

    def read(self, answer: object, count: int) -> Answers:
        """Return what stands in an answer to `count` images; rows that are not finite count as failed.

        Args:
            answer: `(count, classes)` scores or `(count,)` integer labels: a tensor, an array or nested lists.
            count: How many images were asked about.

        Raises:
            InvalidAnswers: If the answer breaks the promise.
        """
        values = self._as_tensor(answer)
        if self.access == "label":
            return self._read_labels(values, count)
        return self._read_scores(values, count)

    def _as_tensor(self, answer: object) -> Tensor:
        if isinstance(answer, Tensor):
            values = answer.detach()
        else:
            try:
                array = np.asarray(answer)
                if array.dtype.kind not in "biuf":
                    raise TypeError(f"dtype {array.dtype}")
                # A copy where torch could not share it: read-only memory, negative strides, another byte order.
                array = array.astype(array.dtype.newbyteorder("="), copy=False)
                values = torch.from_numpy(np.array(array, order="C"))
            except (TypeError, ValueError, RuntimeError) as error:
                raise InvalidAnswers(f"{self.name} must answer with {self._promise()}, got {brief(answer)}.") from error
        if values.is_complex():
            raise InvalidAnswers(f"{self.name} must answer with {self._promise()}, got {brief(values)}.")
        return values

    def _promise(self) -> str:
        if self.access == "label":
            return "one integer label an image"
        return f"a row of {self.classes} {'probabilities' if self.access == 'proba' else 'logits'} an image"

    def _read_labels(self, values: Tensor, count: int) -> Answers:
        if values.ndim == 2 and values.shape[0] == count and values.shape[1] == self.classes:
            raise InvalidAnswers(
                f"{self.name} was declared to answer with labels, got {brief(values)}: scores, by their form; "
                "declare access='logits' or 'proba'."
            )
        if values.ndim != 1:
            raise InvalidAnswers(f"{self.name} must answer with ({count},) labels, got {brief(values)}.")
        if len(values) != count:
            raise InvalidAnswers(f"{self.name} answered {len(values)} labels to {count} images.")
        if values.is_floating_point() or values.dtype == torch.bool:
            raise InvalidAnswers(f"{self.name} must answer with integer labels, got {brief(values)}.")
        labels = values.to(torch.int64)
        outside = (labels < 0) | (labels >= self.classes)
        if bool(outside.any()):
            row = int(torch.nonzero(outside)[0])
            raise InvalidAnswers(
                f"{self.name} must answer with labels 0 to {self.classes - 1}, got {int(labels[row])} for image {row}."
            )
        return Answers(labels, None)

    def _read_scores(self, values: Tensor, count: int) -> Answers:
        if values.ndim == 1 and len(values) == count and not values.is_floating_point():
            raise InvalidAnswers(
                f"{self.name} was declared to answer with {self._promise()}, got {brief(values)}: labels, by their "
                "form; declare access='label'."
            )
        if values.ndim != 2:
            raise InvalidAnswers(f"{self.name} must answer with ({count}, {self.classes}) scores, got {brief(values)}.")
        if values.shape[0] != count:
            raise InvalidAnswers(f"{self.name} answered {values.shape[0]} rows to {count} images.")
        if values.shape[1] != self.classes:
            raise InvalidAnswers(
                f"{self.name} was declared to have {self.classes} classes, but answered with {values.shape[1]} scores "
                "an image."
            )
        if not values.is_floating_point():
            values = values.to(torch.float64)
        # -inf is the logit of probability 0; +inf, and nothing but -inf, single out no class.
        if self.access == "logits":
            good = (values < torch.inf).all(dim=1) & (values > -torch.inf).any(dim=1)
        else:
            good = torch.isfinite(values).all(dim=1)
            self._check_sums(values, good)
        scores = values.to(torch.float32, copy=True)
        # The label of the scores as they came: rounding to float32 may make two of them equal.
        labels = torch.where(good, values.argmax(dim=1), -1)
        errors: dict[int, str] = {}
        if not bool(good.all()):
            scores[~good] = torch.nan
            bad = torch.nonzero(~good)[:, 0].tolist()
            errors = dict.fromkeys(bad, f"{self.name} answered with scores that are not finite")
        return Answers(labels, scores, errors)

    def _check_sums(self, values: Tensor, good: Tensor) -> None:
        sums = values.sum(dim=1, dtype=torch.float64)
        low, high = -self.tolerance, 1 + self.tolerance
        wrong = good & (((sums - 1).abs() > self.tolerance) | ((values < low) | (values > high)).any(dim=1))
        if bool(wrong.any()):
            row = int(torch.nonzero(wrong)[0])
            smallest, largest = float(values[row].min()), float(values[row].max())
            raise InvalidAnswers(
                f"{self.name} was declared to answer with probabilities, but row {row} sums to {float(sums[row]):.6g} "
                f"(entries from {smallest:.4g} to {largest:.4g}, tolerance {self.tolerance:g}); declare "
                "access='logits' for scores that are none."
            )
