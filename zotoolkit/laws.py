"""How random directions are distributed: by a law, over all coordinates or over each of several segments."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import Union

import torch
from torch import Tensor

from zotoolkit.errors import InvalidSetting, brief, did_you_mean


class Law(str, Enum):
    """Distribution of a direction's entries."""

    RADEMACHER = "rademacher"
    NORMAL = "normal"
    SPHERE = "sphere"

    @classmethod
    def of(cls, law: Law | str) -> Law:
        """Return the law of that name.

        Raises:
            InvalidSetting: If there is none.
        """
        try:
            return cls(law)
        except ValueError:
            names = [member.value for member in cls]
            hint = did_you_mean(str(law), names)
            raise InvalidSetting(f"law must be one of {', '.join(names)}, got {brief(law)}.{hint}") from None

    def second_moment(self, dim: int) -> float:
        """Return m such that E[u u^T] = m I in `dim` dimensions."""
        return 1.0 / dim if self is Law.SPHERE else 1.0

    @property
    def bound(self) -> float:
        """Largest magnitude that an entry can take; normals end where the 31-bit radius does."""
        if self is Law.RADEMACHER:
            return 1.0
        return 1.0001 * (math.sqrt(62 * math.log(2)) if self is Law.NORMAL else 1.0)


@dataclass(frozen=True)
class Segmented:
    """Directions of length 1 in each segment of their coordinates, such as each tensor of a network.

    Normal and sphere directions become uniform on each segment's unit sphere; a Rademacher direction's entries become
    +-1/sqrt(m) in a segment of m coordinates. Stands wherever a law stands: since the law knows the segments, whatever
    makes directions from (seed, law, slice) makes the right ones.

    Args:
        law: "normal", "rademacher" or "sphere".
        offsets: `(s + 1,)` ends of the segments, from 0 to the number of coordinates d, ascending.

    Raises:
        InvalidSetting: If there is no such law, or offsets do not ascend from 0.

    Examples:
        >>> from zotoolkit.directions import directions
        >>> law = Segmented("normal", (0, 3, 5))
        >>> u = directions(torch.tensor([7]), law, dim=5)[0]
        >>> [round(float(part.norm()), 5) for part in (u[:3], u[3:])]
        [1.0, 1.0]
    """

    law: Law | str
    offsets: tuple[int, ...]

    def __post_init__(self) -> None:
        law = Law.of(self.law)
        # One name for one thing: a normal direction over its length is uniform on the sphere.
        object.__setattr__(self, "law", Law.SPHERE if law is Law.NORMAL else law)
        offsets = tuple(int(end) for end in self.offsets)
        if len(offsets) < 2 or offsets[0] != 0 or any(a >= b for a, b in pairwise(offsets)):
            raise InvalidSetting(f"offsets must ascend from 0 to the number of coordinates, got {brief(self.offsets)}.")
        object.__setattr__(self, "offsets", offsets)

    @property
    def value(self) -> str:
        """The law's name and where its segments end, for logs."""
        return f"{Law.of(self.law).value} in {'-'.join(map(str, self.offsets))}"

    @property
    def bound(self) -> float:
        """Largest magnitude that an entry can take."""
        if self.law is Law.RADEMACHER:
            return 1.0 / math.sqrt(min(b - a for a, b in pairwise(self.offsets)))
        return Law.of(self.law).bound

    def second_moment(self, dim: int) -> Tensor:
        """Return the `(d,)` diagonal of E[u u^T]: 1/m in a segment of m coordinates, and 0 off the diagonal.

        Raises:
            InvalidSetting: If the segments do not end at `dim`.
        """
        sizes = torch.tensor(self.checked(dim)).diff()
        return (1.0 / sizes.double()).repeat_interleave(sizes)

    def checked(self, dim: int) -> tuple[int, ...]:
        """Return the offsets.

        Raises:
            InvalidSetting: If the segments do not end at `dim`.
        """
        if self.offsets[-1] != dim:
            raise InvalidSetting(f"the segments end at {self.offsets[-1]}, but a direction has {dim} coordinates.")
        return self.offsets


AnyLaw = Union[Law, Segmented]


def law_of(law: AnyLaw | str) -> AnyLaw:
    """Return a law by name, or the law as it is.

    Raises:
        InvalidSetting: If there is none of that name.
    """
    return law if isinstance(law, Segmented) else Law.of(law)
