"""Random search.

Every query is drawn on its own: uniformly where a coordinate is bounded on both sides, and from a normal distribution
of scale sigma around a centre where it is not:

    x_i ~ U[low_i, high_i]            bounded
    x_i ~ N(centre_i, sigma^2)        otherwise, clipped to a bound on one side

The centre is the start point, or the best point so far (Rastrigin's creeping random search). The draws are a pure
function of (seed, iteration).

Source: Anderson, JASA 48, 1953; Bergstra and Bengio, JMLR 13, 2012; Rastrigin, Automation and Remote Control 24, 1963.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from typing_extensions import override

from zotoolkit.checks import check_choice, check_count, check_positive
from zotoolkit.directions import Law
from zotoolkit.queries import DenseBatch, QueryBatch, SeededBatch
from zotoolkit.seeding import derive_seeds, torch_generator
from zotoolkit.solvers.base import Solver
from zotoolkit.solvers.scales import free_scale

Around = Literal["start", "best"]
AROUND = ("start", "best")


class RandomSearch(Solver):
    """Draws points and keeps the best.

    The first query is the start point itself. In a space without bounds a batch is seeds, 8 bytes a query beside its
    scale; in a box it is points.

    Args:
        q: Queries an iteration.
        sigma: Standard deviation in coordinates that are not bounded on both sides, in units of x; by default the root
            mean square of x0, or 1 if x0 is 0.
        around: Centre of the normal draws: "start" or "best", the best point so far. Bounded coordinates are drawn
            from their whole range either way.

    Raises:
        InvalidSetting: If q is below 1, sigma is not positive, or around is unknown.

    Examples:
        >>> import zotoolkit
        >>> objective = zotoolkit.from_callable(lambda x: float(abs(x[0] - 3)), dim=1, low=0, high=10)
        >>> result = zotoolkit.minimize(objective, RandomSearch(q=50), budget=1000, progress=False)
        >>> bool(result.value < 0.1)
        True
    """

    def __init__(self, q: int = 10, sigma: float | None = None, around: Around = "start") -> None:
        super().__init__()
        self.q = check_count(q, "q")
        self.sigma = None if sigma is None else check_positive(sigma, "sigma")
        self.around = check_choice(around, AROUND, "around")

    @override
    def _start(self) -> None:
        self._best_x = self.x0.clone()
        self._best_value = float("inf")
        self._bounded = torch.isfinite(self.bounds.low) & torch.isfinite(self.bounds.high)
        self._free = not bool((torch.isfinite(self.bounds.low) | torch.isfinite(self.bounds.high)).any())
        self._reach = free_scale(self.x0) if self.sigma is None else self.sigma

    @override
    def _ask(self) -> QueryBatch:
        centre = (self._best_x if self.around == "best" else self.x0).clone()
        if self._free:
            scale = torch.full((self.q,), self._reach, dtype=centre.dtype, device=centre.device)
            if self.iteration == 0:
                scale[0] = 0.0
            seeds = derive_seeds(self.seed, self.iteration, self.q, centre.device)
            return SeededBatch(base=centre, scale=scale, context=self.iteration, seed=seeds, law=Law.NORMAL)
        return DenseBatch.at(self._draw(centre), context=self.iteration)

    def _draw(self, centre: Tensor) -> Tensor:
        """Return `(q, d)` points inside the bounds."""
        low, high = self.bounds
        generator = torch_generator(self.seed, self.iteration)
        uniform = torch.rand(self.q, self.dim, dtype=centre.dtype, generator=generator).to(centre.device)
        points = low * (1 - uniform) + high * uniform
        if not bool(self._bounded.all()):
            normal = torch.randn(self.q, self.dim, dtype=centre.dtype, generator=generator).to(centre.device)
            points = torch.where(self._bounded, points, centre + self._reach * normal)
        if self.iteration == 0:
            points[0] = self.x0
        return self.bounds.project(points)

    @override
    def _tell(self, batch: QueryBatch, values: Tensor, usable: Tensor) -> dict[str, float]:
        losses = torch.where(usable, values, torch.inf)
        i = int(losses.argmin())
        if float(losses[i]) < self._best_value:
            self._best_value, self._best_x = float(losses[i]), batch[i : i + 1].points()[0]
        return {"loss": float(values[i]), "best": self._best_value}

    @override
    def recommend(self) -> Tensor:
        """Return the point of the lowest loss observed, the start point before there is one."""
        return self._best_x.clone()

    @override
    def _state(self) -> dict[str, Any]:
        return {"best_x": self._best_x, "best_value": self._best_value}

    @override
    def _load(self, state: dict[str, Any]) -> None:
        self._best_x = state["best_x"].to(self.x0.device)
        self._best_value = state["best_value"]
