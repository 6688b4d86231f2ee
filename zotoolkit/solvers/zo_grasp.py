"""ZO-GraSP: scores of weights at the start of training, from losses alone.

    S = -x * [g(x + mu g(x)) - g(x)] / mu,    g(x) = (1/q) sum_i [f(x + mu u_i) - f(x)] / mu  u_i

Both estimates are taken on one mini-batch. The directions u_i move convolution and linear weights only, and have length
1 in each tensor apart, as in the authors' code. This g is `RGE` before it is divided by E[u u^T], so what belongs to a
tensor of d_l weights is 1/d_l of the gradient. That matters: with some hundred directions S is mostly sampling noise.
Unbiased, the noise would grow as sqrt(d_l), and large tensors would win every comparison; as it is, small ones do, as
they do in the scores that back-propagation gives.

Source: Chen et al., DeepZero, ICLR 2024, section 4; the normalisation is that of the authors' code (whose g carries one
more factor mu, so that the two points all but coincide and the ratios come out the same).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from typing_extensions import Self

from zotoolkit.engines.layout import ParameterLayout
from zotoolkit.errors import InvalidSetting, ObjectiveFailed
from zotoolkit.estimators import RGE, Estimate
from zotoolkit.estimators.rge import Normalization
from zotoolkit.estimators.smoothing import FittingMu, found_mu, smoothing_at
from zotoolkit.laws import law_of
from zotoolkit.masks.ratios import MASKABLE
from zotoolkit.masks.scores import grasp_scores
from zotoolkit.objective import BlackBoxObjective
from zotoolkit.queries import QueryBatch, SeededBatch
from zotoolkit.seeding import derive_seed
from zotoolkit.spaces import Bounds, bounds_of
from zotoolkit.status import Status
from zotoolkit.structure import Structure, fitting, one_layer

_SECOND_DRAW = 0x6A5


@dataclass(frozen=True)
class ZOGrasp:
    """The queries of ZO-GraSP and what is made of their answers; two batches of q + 1 queries.

    Args:
        mu: Smoothing parameter, and how far along g(x) the second estimate lies; a `FittingMu` leaves it to the
            objective.
        q: Directions of each estimate.
        normalize: "per-tensor" as above, or "global" or "none" as in `RGE`.
        layout: Where the tensors are.

    Raises:
        InvalidSetting: If a setting is out of range.
    """

    mu: float | FittingMu = 5e-3
    q: int = 192
    normalize: Normalization = "per-tensor"
    layout: ParameterLayout | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        RGE(self.mu, self.q, normalize=self.normalize)

    def prepared(self, structure: Structure, dim: int) -> Self:
        """Return the same with the objective's layers; where it tells none, all coordinates are one layer."""
        mu = smoothing_at(found_mu(self.mu, structure, "forward"), 0)
        return replace(self, mu=mu, layout=fitting(self.layout or structure.layout or one_layer(dim), dim))

    @property
    def estimator(self) -> RGE:
        """What makes both estimates."""
        return RGE(self.mu, self.q, normalize=self.normalize, layout=self.layout)

    @property
    def queries(self) -> int:
        """How many queries the scores cost."""
        return 2 * (self.q + 1)

    def first(self, x: Tensor, context: int, seed: int, bounds: Bounds) -> QueryBatch:
        """Build the `q + 1` queries of g(x) for a `(d,)` point; in a box, of the nearest one with room around it."""
        x = bounds.project(x, self.estimator.margin(context))
        return self.estimator.queries(x, self._weights(x), context, seed, bounds)

    def second(self, x: Tensor, gradient: Tensor, context: int, seed: int, bounds: Bounds) -> QueryBatch:
        """Build the `q + 1` queries of g(x + mu g(x)), along other directions, for the same mini-batch."""
        return self.first(x + smoothing_at(self.mu, 0) * gradient, context, derive_seed(seed, _SECOND_DRAW), bounds)

    def estimate(self, batch: QueryBatch, values: Tensor, usable: Tensor) -> Estimate:
        """Turn `(q + 1,)` losses into g, `(d,)`, which is not divided by the directions' second moment."""
        estimate = self.estimator.gradient(batch, values, usable)
        if not isinstance(batch, SeededBatch):
            raise InvalidSetting("estimate takes a batch that first or second built.")
        moment = law_of(batch.law).second_moment(batch.direction_dim)
        gradient = estimate.gradient.clone()
        index = torch.arange(batch.dim, device=batch.device) if batch.alive is None else batch.alive
        gradient[index] *= moment.to(gradient) if isinstance(moment, Tensor) else moment
        return estimate._replace(gradient=gradient)

    def scores(self, x: Tensor, gradient: Tensor, shifted_gradient: Tensor) -> Tensor:
        """Return the `(d,)` scores |S|; 0 in coordinates that are always alive."""
        return grasp_scores(x, gradient, shifted_gradient, smoothing_at(self.mu, 0))

    def _weights(self, x: Tensor) -> Tensor:
        if self.layout is None:
            raise InvalidSetting(f"{self!r} knows no layers yet; prepared(structure, dim) returns the one that does.")
        return self.layout.coordinates(*MASKABLE).to(x.device)


def zo_grasp_scores(
    objective: BlackBoxObjective,
    x: Tensor,
    *,
    mu: float = 5e-3,
    q: int = 192,
    normalize: Normalization = "per-tensor",
    context: int = 0,
    seed: int = 0,
) -> Tensor:
    """Ask an objective for ZO-GraSP's scores of a point; spends 2 (q + 1) queries.

    Args:
        objective: With an attribute `layout`; without, all coordinates are one layer.
        x: `(d,)` point, such as the start point.
        mu: Smoothing parameter.
        q: Directions of each of the two estimates.
        normalize: As in `ZOGrasp`.
        context: Mini-batch that both estimates share.
        seed: Of the directions.

    Returns:
        `(d,)` scores |S|.

    Raises:
        ObjectiveFailed: If an estimate cannot be formed because too many queries failed.

    Examples:
        >>> import zotoolkit
        >>> from zotoolkit.masks import score_ratios
        >>> objective = zotoolkit.make("DNN/DigitsMLP-v0")
        >>> x0, _ = objective.reset(seed=0)
        >>> ratios = score_ratios(zo_grasp_scores(objective, x0, q=20), objective.layout, sparsity=0.9)
        >>> ratios["1.weight"] < ratios["3.weight"], objective.queries
        (True, 42)
    """
    grasp = ZOGrasp(mu, q, normalize).prepared(Structure.of(objective), objective.dim)
    bounds = bounds_of(objective.space, x.device)

    def answered(batch: QueryBatch) -> Tensor:
        values, _, _, info = objective.step(batch)
        estimate = grasp.estimate(batch, values, (info["status"] == Status.OK).to(values.device))
        if not formed(estimate, q):
            raise ObjectiveFailed("ZO-GraSP needs losses at and around the point, but all differences failed.")
        return estimate.gradient

    gradient = answered(grasp.first(x, context, seed, bounds))
    return grasp.scores(x, gradient, answered(grasp.second(x, gradient, context, seed, bounds)))


def formed(estimate: Estimate, q: int) -> bool:
    """Whether at least one of q differences could be formed, and all is finite."""
    return estimate.missing < q and bool(torch.isfinite(estimate.gradient).all())
