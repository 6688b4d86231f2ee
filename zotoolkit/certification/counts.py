"""What was counted for one image: votes in both stages, failures, samples asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

ABSTAIN = -1
"""Label of no class: what a smoothed classifier says when it abstains, and what a failed query counts as."""


@dataclass
class Tally:
    """Votes by class.

    Attributes:
        votes: How many samples were answered with each label; labels without a vote are not there.
        failed: How many queries failed.
    """

    votes: dict[int, int] = field(default_factory=dict)
    failed: int = 0

    @property
    def asked(self) -> int:
        """Samples asked: all votes and all failures."""
        return sum(self.votes.values()) + self.failed

    def add(self, labels: NDArray[np.int64]) -> None:
        """Count `(m,)` labels, -1 for a failed query."""
        for label, count in zip(*np.unique(labels, return_counts=True), strict=True):
            if label == ABSTAIN:
                self.failed += int(count)
            else:
                self.votes[int(label)] = self.votes.get(int(label), 0) + int(count)

    def top(self) -> int:
        """Return the class with most votes, of equals the lowest; -1 if there is no vote."""
        return min(self.votes, key=lambda label: (-self.votes[label], label), default=ABSTAIN)


@dataclass(frozen=True)
class ImageCounts:
    """One image's raw counts, from which its certificate follows for any alpha.

    Attributes:
        index: The image's key.
        selection: Votes of the n0 samples that choose the class.
        estimation: Votes of the samples that bound its probability: n, or fewer if it was stopped early, and then it
            has no certificate.
        label: The true class; None if it is not known.
        fingerprint: Of the image's numbers.
    """

    index: int
    selection: Tally
    estimation: Tally
    label: int | None = None
    fingerprint: str = ""

    @property
    def selected(self) -> int:
        """The class that the n0 samples chose; -1 if every one of them failed."""
        return self.selection.top()

    @property
    def successes(self) -> int:
        """Votes of the selected class among the estimation samples; a failed query is none."""
        return self.estimation.votes.get(self.selected, 0)

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        return {
            "index": self.index,
            "image": self.fingerprint,
            "label": self.label,
            "selection": {str(label): self.selection.votes[label] for label in sorted(self.selection.votes)},
            "selection_failed": self.selection.failed,
            "estimation": {str(label): self.estimation.votes[label] for label in sorted(self.estimation.votes)},
            "estimation_failed": self.estimation.failed,
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> ImageCounts:
        """Read what `as_dict` returned.

        Raises:
            ValueError: If something is missing or no count; the caller knows which file it stands in.
        """
        try:
            return cls(
                index=_count(content["index"]),
                selection=_tally(content["selection"], content["selection_failed"]),
                estimation=_tally(content["estimation"], content["estimation_failed"]),
                label=None if content["label"] is None else _count(content["label"]),
                fingerprint=str(content["image"]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error


def _tally(votes: Mapping[str, Any], failed: object) -> Tally:
    return Tally({_count(int(label)): _count(count) for label, count in votes.items()}, _count(failed))


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value
