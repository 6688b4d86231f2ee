"""Which stretches of reference data an iteration unrolls over, and how far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from problems.pde.references import Trajectories
from zotoolkit.checks import check_count
from zotoolkit.errors import InvalidSetting, brief
from zotoolkit.seeding import torch_generator

_WINDOW_DRAW = 0x9DE
Curriculum = Sequence[tuple[int, int]]


class Window(NamedTuple):
    """W stretches of reference trajectories.

    Attributes:
        start: `(W, *F)` states to start from.
        params: `(W, k)`.
        targets: `(m, W, *F)` reference states after 1 to m steps.
    """

    start: Tensor
    params: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.params)

    @property
    def steps(self) -> int:
        """Steps m that are unrolled."""
        return len(self.targets)

    @property
    def before(self) -> Tensor:
        """`(m, W, *F)` reference states before each of the m steps."""
        return torch.cat((self.start[None], self.targets[:-1]))


class Windows:
    """Windows by context: every epoch is a permutation of all starts, drawn from (seed, epoch).

    Args:
        trajectories: Where they are cut from.
        count: Windows an iteration, W.
        unroll: Steps m; or a curriculum, `((0, 4), (200, 8), (400, 16))` for 4 steps in contexts 0 to 199, and so on.

    Attributes:
        longest: The most steps.
        per_epoch: Contexts an epoch.

    Raises:
        InvalidSetting: If a setting is out of range or the trajectories are too short for it.
    """

    def __init__(self, trajectories: Trajectories, count: int, unroll: int | Curriculum) -> None:
        self.trajectories = trajectories
        self.count = check_count(count, "windows")
        self._stages = _stages(unroll)
        self.longest = max(steps for _, steps in self._stages)
        self._starts = trajectories.frames - self.longest
        if self._starts < 1:
            raise InvalidSetting(
                f"unroll={self.longest} needs trajectories of at least {self.longest + 1} frames, got "
                f"{trajectories.frames}."
            )
        if (there := len(trajectories) * self._starts) < self.count:
            raise InvalidSetting(f"windows must be at most the {there} that the training data hold, got {count}.")
        self.per_epoch = there // self.count
        self._order: tuple[tuple[int, int], Tensor] | None = None

    def steps(self, context: int) -> int:
        """Return how many steps a context unrolls."""
        return next(steps for first, steps in reversed(self._stages) if context >= first)

    def at(self, seed: int, context: int) -> Window:
        """Return the windows of a context."""
        epoch, place = divmod(context, self.per_epoch)
        return self._cut(self._permutation(seed, epoch)[place * self.count :][: self.count], self.steps(context))

    def spread(self, count: int) -> Window:
        """Return so many windows of the longest kind, evenly over all starts: the same always."""
        total = len(self.trajectories) * self._starts
        chosen = torch.linspace(0, total - 1, min(count, total), dtype=torch.float64).round().long()
        return self._cut(chosen, self.longest)

    def _cut(self, chosen: Tensor, steps: int) -> Window:
        states, params = self.trajectories.states, self.trajectories.params
        row, first = chosen // self._starts, chosen % self._starts
        ahead = first + torch.arange(steps + 1)[:, None]
        cut = states[row.to(states.device), ahead.to(states.device)]
        return Window(cut[0], params[row.to(params.device)], cut[1:])

    def _permutation(self, seed: int, epoch: int) -> Tensor:
        if self._order is None or self._order[0] != (seed, epoch):
            drawn = torch.randperm(
                len(self.trajectories) * self._starts, generator=torch_generator(seed, epoch, _WINDOW_DRAW)
            )
            self._order = ((seed, epoch), drawn)
        return self._order[1]


def _stages(unroll: object) -> list[tuple[int, int]]:
    if not isinstance(unroll, Sequence) or isinstance(unroll, str):
        return [(0, check_count(unroll, "unroll"))]
    pairs: list[tuple[int, int]] = []
    for pair in unroll:
        if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
            raise InvalidSetting(
                f"a curriculum holds pairs of a first context and its steps, ((0, 4), (200, 8)), got {brief(pair)}."
            )
        pairs.append((check_count(pair[0], "first context", least=0), check_count(pair[1], "unroll")))
    firsts = [first for first, _ in pairs]
    if not pairs or firsts[0] != 0 or firsts != sorted(set(firsts)):
        raise InvalidSetting(f"a curriculum begins with context 0 and goes up, got {brief(unroll)}.")
    return pairs
