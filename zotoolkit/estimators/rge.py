"""Randomised gradient estimation (RGE).

Averages directional finite differences along random directions u_i with E[u u^T] = m I:

    g = 1/(q m) sum_i [f(x + mu u_i) - f(x)] / mu            u_i   (forward,  q + 1 queries)
    g = 1/(q m) sum_i [f(x + mu u_i) - f(x - mu u_i)] / 2mu  u_i   (central, 2q queries)

m is 1 for Rademacher and normal directions and 1/d on the unit sphere, which gives the usual factor d there. Where
directions have length 1 in each parameter tensor apart, m is 1/d_l in a tensor of d_l coordinates: a matrix, still
diagonal, and the estimate stays unbiased up to mu.

Source: Nesterov and Spokoiny, Found. Comput. Math. 17, 2017; Duchi et al., IEEE Trans. Inf. Theory 61(5), 2015;
Chen et al., DeepZero, ICLR 2024, eq. (1).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor
from typing_extensions import Self, override

from zotoolkit.checks import check_choice, check_count
from zotoolkit.engines.layout import ParameterLayout
from zotoolkit.estimators.base import DIFFERENCES, Difference, Estimate, Estimator
from zotoolkit.estimators.smoothing import Smoothing, check_smoothing, found_mu, smoothing_at
from zotoolkit.laws import AnyLaw, Law, Segmented, law_of
from zotoolkit.queries import QueryBatch, SeededBatch
from zotoolkit.seeding import derive_seeds
from zotoolkit.spaces import Bounds
from zotoolkit.structure import Structure, fitting

Normalization = Literal["none", "global", "per-tensor"]
NORMALIZATIONS = ("none", "global", "per-tensor")


@dataclass(frozen=True)
class RGE(Estimator):
    """Finite differences along random directions.

    Args:
        mu: Smoothing parameter in units of x per unit of direction, a positive number or a `PowerDecay`. On the unit
            sphere a step has length mu; with Rademacher and normal directions about mu * sqrt(d).
        q: Number of directions an estimate. Must be at least 1.
        difference: "forward" or "central".
        law: "normal", "rademacher" or "sphere".
        normalize: "none" takes directions as the law gives them, "global" brings each to length 1 (normal ones are
            then uniform on the unit sphere), "per-tensor" to length 1 in each parameter tensor, so that a step is
            of the same length in all of them, however many coordinates they have.
        layout: Where the tensors are, for "per-tensor"; by default as the objective tells when a solver is attached.

    Raises:
        InvalidSetting: If mu is not positive, q is below 1, or difference, law or normalize is unknown.
    """

    mu: Smoothing = 5e-3
    q: int = 10
    difference: Difference = "forward"
    law: Law | str = Law.NORMAL
    normalize: Normalization = "none"
    layout: ParameterLayout | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_smoothing(self.mu)
        check_count(self.q, "q")
        check_choice(self.difference, DIFFERENCES, "difference")
        check_choice(self.normalize, NORMALIZATIONS, "normalize")
        object.__setattr__(self, "law", Law.of(self.law))

    @override
    def prepared(self, structure: Structure, dim: int) -> Self:
        """Return the estimator with the objective's layout, if it needs one and was given none, and a mu that fits.

        Raises:
            InvalidSetting: If it needs one and the objective tells none.
        """
        mu = found_mu(self.mu, structure, self.difference)
        if self.normalize != "per-tensor" or self.layout is not None:
            return replace(self, mu=mu)
        return replace(self, mu=mu, layout=structure.needed_layout(dim, "normalize='per-tensor'"))

    @override
    def queries(self, x: Tensor, alive: Tensor | None, context: int, seed: int, bounds: Bounds) -> SeededBatch:
        """Build `q + 1` queries (forward; the first has scale 0, for f(x)) or `2q` (central; +, -, +, -, ...)."""
        mu = smoothing_at(self.mu, context)
        seeds = derive_seeds(seed, context, self.q, x.device)
        scale = torch.full((self.q,), mu, dtype=x.dtype, device=x.device)
        if self.difference == "forward":
            seeds = torch.cat((seeds[:1], seeds))
            scale = torch.cat((scale.new_zeros(1), scale))
        else:
            seeds = seeds.repeat_interleave(2)
            scale = torch.stack((scale, -scale), dim=1).flatten()
        law = self._law(len(x), alive)
        return SeededBatch(base=x, scale=scale, context=context, seed=seeds, law=law, alive=alive)

    @override
    def gradient(self, batch: QueryBatch, values: Tensor, usable: Tensor) -> Estimate:
        """Average over the directions whose queries all came back."""
        scale = batch.scale.to(values)
        if self.difference == "forward":
            batch, loss = batch[1:], float(values[0])
            formed = usable[1:] & usable[0]
            slope = (values[1:] - values[0]) / scale[1:]
        else:
            plus, minus = values[0::2], values[1::2]
            formed = usable[0::2] & usable[1::2]
            slope = (plus - minus) / (scale[0::2] - scale[1::2])
            loss = float(((plus + minus) / 2)[formed].mean())
            batch = batch[::2]
        count = int(formed.sum())
        seeded = batch if isinstance(batch, SeededBatch) else None
        dim = batch.dim if seeded is None else seeded.direction_dim
        law = Law.of(self.law) if seeded is None else law_of(seeded.law)
        moment = law.second_moment(dim)
        weight = 1.0 / (max(count, 1) * (moment if isinstance(moment, float) else 1.0))
        gradient = batch.combine(torch.where(formed, slope * weight, 0.0))
        if isinstance(moment, Tensor):
            share = moment.to(gradient)
            if seeded is None or seeded.alive is None:
                gradient = gradient / share
            else:
                gradient[seeded.alive] /= share
        return Estimate(gradient, loss, len(formed) - count)

    @override
    def margin(self, context: int) -> float:
        law = Law.of(self.law)
        normalised = self.normalize != "none" and law is Law.NORMAL
        return smoothing_at(self.mu, context) * (Law.SPHERE if normalised else law).bound

    def _law(self, dim: int, alive: Tensor | None) -> AnyLaw:
        """Return the law of `(k,)` live coordinates' directions."""
        law = Law.of(self.law)
        if self.normalize == "none":
            return law
        if self.normalize == "global":
            return Segmented(law, (0, dim if alive is None else len(alive)))
        layout = fitting(Structure(self.layout).needed_layout(dim, "normalize='per-tensor'"), dim)
        ends = [slot.stop for slot in layout.slots]
        if alive is not None:  # ascending, so each tensor's live coordinates stand together
            ends = torch.searchsorted(alive.cpu(), torch.tensor(ends)).tolist()
        # A tensor without a live coordinate has no segment.
        return Segmented(law, tuple(sorted({0, *ends})))
