"""One differentiated call of a black box: its values, and the gradients of its samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zotoolkit.nn.asking import Asker
from zotoolkit.nn.directions import Sampled


@dataclass(frozen=True)
class EstimateReport:
    """What became of the differences behind one gradient.

    Attributes:
        context: Of the call.
        differences: How many were wanted, over all samples.
        dropped: How many could not be formed because a query failed.
        blind: Positions of the samples that had none left, and got a zero gradient.
        zero_share: Share of the differences formed that are exactly 0 in all outputs; NaN if none was formed.
    """

    context: int
    differences: int
    dropped: int
    blind: tuple[int, ...]
    zero_share: float


class Call:
    """One differentiated call.

    Args:
        asker: Sends the queries.
        plan: The directions.
        context: For the report.
        note: Takes the report when a gradient has been estimated.

    Attributes:
        base: `(B, *out)` what the call returns.
    """

    base: Tensor

    def __init__(self, asker: Asker, plan: Sampled, context: int, note: Callable[[EstimateReport], None]) -> None:
        self._asker, self._plan, self._context, self._note = asker, plan, context, note
        self._kept: Tensor | None = None
        self._form: torch.Size | None = None

    def ask_base(self, z: Tensor, extras: Sequence[Tensor]) -> None:
        """Ask the value at z now, and the differences when a gradient is wanted."""
        self.base = self._asker.ask(z.clone(), [extra.clone() for extra in extras])
        self._form = self.base.shape[1:]

    def ask_at_once(self, z: Tensor, extras: Sequence[Tensor]) -> None:
        """Ask the differences now; their values' mean is the base value."""
        kept: list[Tensor] = []
        means: list[Tensor] = []
        for _, difference, mean in self._differences(z, extras):
            kept.append(difference)
            means.append(mean)
        plan = self._plan
        self._kept = torch.cat(kept)
        middle = torch.cat(means).unflatten(0, (plan.samples, plan.count))
        self.base = middle.nanmean(1)

    def gradient(self, z: Tensor, extras: Sequence[Tensor], given: Tensor) -> Tensor:
        """Return the `(B, *shape)` gradients.

        Args:
            z: `(B, *shape)`.
            extras: As in the call.
            given: `(B, *out)` the loss's gradient with respect to the values.
        """
        plan, total = self._plan, self._plan.samples * self._plan.count
        flat = given.reshape(plan.samples, -1).double()
        slopes = torch.zeros(total, dtype=torch.float64, device=z.device)
        formed = torch.zeros(total, dtype=torch.bool, device=z.device)
        zeros = torch.zeros(total, dtype=torch.bool, device=z.device)
        if self._kept is None:
            self._asker.reserve(plan.samples * plan.queries_per_sample)
            parts = ((pairs, difference) for pairs, difference, _ in self._differences(z, extras))
        else:
            parts = iter([(slice(0, total), self._kept)])
        for pairs, difference in parts:
            rows = difference.reshape(len(difference), -1).double()
            whole = torch.isfinite(rows).all(1)
            rows = torch.where(whole[:, None], rows, 0.0)
            slopes[pairs] = (rows * flat[self._owners(pairs, z.device)]).sum(1)
            formed[pairs] = whole
            zeros[pairs] = whole & (rows == 0).all(1)
        slopes /= plan.mu * (2 if plan.central else 1)
        shape = (plan.samples, plan.count)
        formed, slopes = formed.view(shape), slopes.view(shape)
        # NaN came back for a value that was NaN; what can be done for this sample is nothing.
        lost = ~torch.isfinite(self.base.reshape(plan.samples, -1)).all(1) & ~torch.isfinite(flat).all(1)
        blind = lost | ~formed.any(1)
        usable = formed & ~lost[:, None]
        gradient = plan.combine(torch.where(usable, slopes, 0.0), formed, z.dtype)
        count = int(formed.sum())
        report = EstimateReport(
            context=self._context,
            differences=total,
            dropped=total - count,
            blind=tuple(blind.nonzero()[:, 0].tolist()),
            zero_share=int(zeros.sum()) / count if count else float("nan"),
        )
        self._note(report)
        return gradient.view(z.shape)

    def _differences(self, z: Tensor, extras: Sequence[Tensor]) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Yield (which, `(p, *out)` differences, `(p, *out)` means of the two sides), NaN where a query failed."""
        plan, asker = self._plan, self._asker
        size = max(1, asker.max_batch // (2 if plan.central else 1))
        points = z.reshape(plan.samples, -1)
        for start in range(0, plan.samples * plan.count, size):
            pairs = slice(start, min(start + size, plan.samples * plan.count))
            owners = self._owners(pairs, z.device)
            here, steps = points[owners], plan.steps(pairs, z.dtype)
            asked = torch.cat((here + steps, here - steps)) if plan.central else here + steps
            mine = [extra[owners] for extra in extras]
            beside = [torch.cat((extra, extra)) for extra in mine] if plan.central else mine
            values = asker.ask(asked.view(-1, *z.shape[1:]), beside, self._form)
            self._form = values.shape[1:]
            if plan.central:
                plus, minus = values.chunk(2)
                yield pairs, plus - minus, plus / 2 + minus / 2
            else:
                yield pairs, values - self.base[owners], values

    def _owners(self, pairs: slice, device: torch.device) -> Tensor:
        """Return the `(p,)` samples that some differences belong to."""
        return torch.arange(pairs.start, pairs.stop, device=device) // self._plan.count
