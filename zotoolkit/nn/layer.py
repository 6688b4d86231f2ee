"""A query-only function of tensors as a torch layer.

Forward asks the function; backward is a zeroth-order estimate for each sample apart. With v_b the gradient of the loss
with respect to the function's output at sample b, and D_bi the difference of outputs along direction u_bi over mu,

    g_b = scaling * sum_i <v_b, D_bi> u_bi

is handed on to what made z_b: back-propagation below then is that of the surrogate sum_b <z_b, stopgrad(g_b)>.

Source: Zhang et al., How to Robustify Black-Box ML Models? A Zeroth-Order Optimization Perspective, ICLR 2022;
the scaling is that of `zotoolkit.estimators`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from typing_extensions import override

from zotoolkit.checks import check_choice, check_count
from zotoolkit.errors import InvalidBatch, InvalidSetting, NoSecondDerivative, brief
from zotoolkit.estimators import CGE, RGE
from zotoolkit.nn.asking import Asker, Function, QueryCount
from zotoolkit.nn.call import Call, EstimateReport
from zotoolkit.nn.directions import Sampled, check_estimator, sampled
from zotoolkit.seeding import check_seed

VALUES = ("base", "pairs")


class BlackBoxFunction(nn.Module):
    """A function that can be called and not differentiated, with a gradient for each sample.

    Called as `layer(z, *extras)`. z is `(B, *shape)`; extras are tensors of B rows, such as labels, which are handed to
    the function with each of a sample's queries and get no gradient. Returns what the function returns, `(B,)` or
    `(B, *out)`, as a part of torch's graph.

    Forward asks one query a sample. Backward asks the differences, and only if a gradient is wanted. With
    `value="pairs"` a call of which a gradient will be wanted asks the two-sided differences at once and returns the
    mean of their values in place of the value at z: 2 q queries a sample in all, for losses smoothed a little. A layer
    that evaluates (`layer.eval()`, or `torch.no_grad`) always returns the value at z.

    A query fails if its row holds NaN or infinity, or `zotoolkit.PartialFailure` names it. Its difference is left out:
    RGE averages over those that are left, a coordinate without one gets 0. The value of a sample is NaN if its own
    query failed (`out.nanmean()` then leaves it out).

    Args:
        function: `function(points, *extras)`: `(m, *shape)` points and `(m, ...)` extras in, `(m,)` losses or
            `(m, *out)` outputs out, row by row and floating point. Runs without autograd; a module given here is not
            a part of this one: its parameters are not this layer's.
        estimator: A `zotoolkit.CGE` or `zotoolkit.RGE`: mu, directions, forward or central differences. By default 16
            normal directions, two-sided. See `zotoolkit.nn.fitting_mu` for mu.
        seed: Of the directions.
        budget: Queries that may be sent in all; None for any number.
        on_failure: "drop" as above, or "raise".
        max_batch: Rows of one call of the function. No result depends on it.
        value: "base" or "pairs".

    Attributes:
        context: Names the next differentiated call: directions are a pure function of (seed, context, sample). Counts
            up with each, is a part of `state_dict` with the counts of queries, and may be set.
        last: What became of the last gradient's differences; None before the first.

    Raises:
        InvalidSetting: If an argument cannot be used.

    Examples:
        >>> layer = BlackBoxFunction(lambda points: (points**2).sum(1), CGE(mu=1e-3, difference="central"))
        >>> z = torch.tensor([[1.0, 2.0], [3.0, -4.0]], dtype=torch.float64, requires_grad=True)
        >>> layer(z).sum().backward()
        >>> z.grad.round(decimals=6).tolist(), layer.queries
        ([[2.0, 4.0], [6.0, -8.0]], QueryCount(sent=10, answered=10))
    """

    def __init__(
        self,
        function: Function,
        estimator: CGE | RGE | None = None,
        *,
        seed: int = 0,
        budget: int | None = None,
        on_failure: Literal["drop", "raise"] = "drop",
        max_batch: int = 1024,
        value: Literal["base", "pairs"] = "base",
    ) -> None:
        super().__init__()
        self.estimator = check_estimator(RGE(q=16, difference="central") if estimator is None else estimator)
        self.seed = check_seed(seed)
        self.value = check_choice(value, VALUES, "value")
        if value == "pairs" and self.estimator.difference != "central":
            raise InvalidSetting("value='pairs' averages the two sides of a difference: it needs difference='central'.")
        # Past nn.Module's own attributes: a network behind the function stays a stranger.
        self.__dict__["_asker"] = Asker(function, budget, on_failure, max_batch)
        self._context = 0
        self.last: EstimateReport | None = None

    @property
    def function(self) -> Function:
        """What is asked."""
        return self.asker.function

    @property
    def asker(self) -> Asker:
        """What sends and counts the queries."""
        return self.__dict__["_asker"]

    @property
    def queries(self) -> QueryCount:
        """Queries sent and answered so far."""
        return self.asker.count

    @property
    def context(self) -> int:
        """Which call comes next."""
        return self._context

    @context.setter
    def context(self, context: int) -> None:
        self._context = check_count(context, "context", least=0)

    def queries_per_sample(self, *shape: int) -> int:
        """Return what one differentiated call and its backward ask, a sample of this shape.

        Examples:
            >>> BlackBoxFunction(torch.sum, CGE(difference="central")).queries_per_sample(3, 2)
            13
        """
        plan = self._plan(1, int(torch.Size(shape).numel()), 0, "cpu")
        return plan.queries_per_sample + (0 if self._at_once else 1)

    @override
    def forward(self, z: Tensor, *extras: Tensor, context: int | None = None) -> Tensor:
        """Return the function's `(B,)` or `(B, *out)` values.

        Args:
            z: `(B, *shape)` float32 or float64.
            extras: `(B, ...)` each, on z's device.
            context: Names this call, and leaves the layer's own count as it is.

        Raises:
            InvalidBatch: If z or an extra is of another form, is not finite, or an extra requires a gradient.
            BudgetSpent: If the call, with the backward that belongs to it, takes more queries than are left.
            QueryFailed: If a query failed and the policy is "raise".
            InvalidValues: If the function answers with anything but one row a point.
            InputMutated: If the function writes into its input.
        """
        check_inputs(z, extras)
        samples = len(z)
        if not (torch.is_grad_enabled() and z.requires_grad):
            return self.asker.ask(z.detach().clone(), [extra.clone() for extra in extras])
        chosen = self.context if context is None else check_count(context, "context", least=0)
        plan = self._plan(samples, z[0].numel(), chosen, z.device)
        self.asker.reserve(samples * (plan.queries_per_sample + (0 if self._at_once else 1)))
        call = Call(self.asker, plan, chosen, self._note)
        given = [extra.detach() for extra in extras]
        if self._at_once:
            call.ask_at_once(z.detach(), given)
        else:
            call.ask_base(z.detach(), given)
        if context is None:  # answered: a call that raised is the same call when it is tried again
            self.context += 1
        return _Estimated.apply(z, call, *given)  # type: ignore[no-any-return]

    def get_extra_state(self) -> Tensor:
        """Return the `(3,)` int64 state: the context, and the queries sent and answered."""
        return torch.tensor([self.context, *self.queries], dtype=torch.int64)

    def set_extra_state(self, state: Tensor) -> None:
        """Take back what `get_extra_state` returned."""
        self.context, sent, answered = (int(count) for count in state)
        self.asker.count = QueryCount(sent, answered)

    @override
    def extra_repr(self) -> str:
        return f"{self.asker.name}, {self.estimator}, seed={self.seed}, budget={self.asker.budget}"

    @property
    def _at_once(self) -> bool:
        return self.value == "pairs" and self.training

    def _note(self, report: EstimateReport) -> None:
        self.last = report

    def _plan(self, samples: int, dim: int, context: int, device: torch.device | str) -> Sampled:
        return sampled(self.estimator, samples, dim, seed=self.seed, context=context, device=device)


class _Estimated(torch.autograd.Function):
    """The call's value forwards, its estimate backwards."""

    @staticmethod
    @override
    def forward(ctx: Any, z: Tensor, call: Call, *extras: Tensor) -> Tensor:
        ctx.save_for_backward(z, *extras)  # and so a write into them is noticed
        ctx.call = call
        return call.base.clone()

    @staticmethod
    @override
    def backward(ctx: Any, *given: Tensor) -> Any:
        z, *extras = ctx.saved_tensors
        with torch.no_grad():
            gradient = ctx.call.gradient(z.detach(), extras, given[0].detach())
        if torch.is_grad_enabled():  # create_graph=True
            gradient = _Constant.apply(gradient, z, given[0])
        return (gradient, None, *(None for _ in extras))


class _Constant(torch.autograd.Function):
    """A gradient that says what it is when somebody differentiates it."""

    @staticmethod
    @override
    def forward(ctx: Any, gradient: Tensor, *_: Tensor) -> Tensor:
        return gradient.clone()

    @staticmethod
    @override
    def backward(ctx: Any, *given: Tensor) -> Any:
        raise NoSecondDerivative(
            "a second derivative was asked of a BlackBoxFunction, whose gradient is an estimate from queries; use "
            "create_graph=False, or detach the layer's input where the first gradient enters the loss."
        )


def check_inputs(z: object, extras: Sequence[object]) -> None:
    """Check one call's tensors.

    Raises:
        InvalidBatch: If they are of another form, not finite, or an extra requires a gradient.
    """
    if not isinstance(z, Tensor) or z.ndim < 1 or z.dtype not in (torch.float32, torch.float64):
        kind = "; half precision cannot hold a small step, use z.float()" if isinstance(z, Tensor) else ""
        raise InvalidBatch(f"z must be a (B, ...) tensor of float32 or float64{kind}, got {brief(z)}.")
    if not z.numel():
        raise InvalidBatch(f"z must hold at least one sample of one number, got {brief(z)}.")
    if not bool(torch.isfinite(z.detach()).all()):
        rows = (~torch.isfinite(z.detach()).reshape(len(z), -1).all(1)).nonzero()[:, 0]
        raise InvalidBatch(
            f"z must be finite, but {len(rows)} of its {len(z)} samples are not, the first is row {int(rows[0])}; has "
            "the network in front of the black box diverged?"
        )
    check_extras(extras, len(z), z.device)


def check_extras(extras: Sequence[object], samples: int, device: torch.device) -> None:
    """Check what goes along with so many samples.

    Raises:
        InvalidBatch: If an extra has not so many rows, is elsewhere, or requires a gradient.
    """
    for position, extra in enumerate(extras):
        if not isinstance(extra, Tensor) or extra.ndim < 1 or len(extra) != samples:
            raise InvalidBatch(
                f"extra {position} must be a tensor with {samples} rows, got {brief(extra)}; put what all samples "
                "share into the function."
            )
        if extra.device != device:
            raise InvalidBatch(f"extra {position} must be on {device}, got one on {extra.device}.")
        if extra.requires_grad:
            raise InvalidBatch(f"extra {position} requires a gradient, which extras do not get; pass extra.detach().")
