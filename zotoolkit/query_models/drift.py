"""Whether a classifier still answers as it did: fixed inputs, asked before and after.

A certificate speaks of one classifier. A service may put another one behind the same address, so the same inputs are
asked before and after, and on a mismatch what was measured in between is void.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from typing_extensions import Self

from zotoolkit.checks import check_count, check_least
from zotoolkit.errors import CheckpointMismatch, DriftDetected, InvalidImages, brief
from zotoolkit.query_models.answers import Answers
from zotoolkit.query_models.base import QueryModel
from zotoolkit.query_models.budget import DRIFT
from zotoolkit.query_models.input_spec import InputSpec
from zotoolkit.seeding import check_seed, torch_generator

PROBES = 16
_COARSE = 3
_STREAM = 0xD21F7


class DriftProbe:
    """Asks fixed inputs before and after, and says whether the answers agree.

    Labels must be equal; where there are scores, these must agree within the tolerance instead, so that a near-tie may
    go either way. Inputs that failed on either side cannot be compared; if fewer than half of them can, nothing can be
    said, and that counts as a mismatch. The images are counted under "drift".

    Args:
        model: Who is asked.
        inputs: `(p, *shape)` images, best real ones of every class; by default 16 made from the seed, half of them
            uniform noise and half smooth, over the input's range.
        seed: What the default inputs derive from.
        tolerance: How far a score may move, as a share of the largest score of its image or of 1.

    Raises:
        InvalidImages: If the inputs do not fit the model or there are none.
        InvalidSetting: If the seed or tolerance is out of its range.

    Examples:
        >>> import torch
        >>> from zotoolkit.query_models import CallableModel
        >>> weights = torch.eye(3)
        >>> model = CallableModel(lambda x: x @ weights, access="logits", classes=3, input=(3,), library="torch")
        >>> probe = DriftProbe(model)
        >>> probe.record()
        >>> probe.check()
        >>> weights *= -1
        >>> try:
        ...     probe.check()
        ... except DriftDetected:
        ...     print("another model")
        another model
    """

    def __init__(
        self, model: QueryModel, inputs: Tensor | None = None, seed: int = 0, *, tolerance: float = 1e-3
    ) -> None:
        self.model = model
        self.seed = check_seed(seed)
        self.tolerance = check_least(tolerance, 0, "tolerance")
        self.inputs = probe_images(model.input, PROBES, self.seed) if inputs is None else model.input.check(inputs)
        if not len(self.inputs):
            raise InvalidImages("a drift probe needs at least one input, got none.")
        self.before: Answers | None = None

    def __len__(self) -> int:
        """Return the number of inputs."""
        return len(self.inputs)

    def record(self) -> None:
        """Ask and remember the answers, unless they are known already, as in a resumed run."""
        if self.before is None:
            self.before = self._ask()

    def check(self) -> None:
        """Ask again and compare.

        Raises:
            DriftDetected: If the answers differ, too many of them failed, or `record` was never called.
        """
        if self.before is None:
            raise DriftDetected("there is nothing to compare with: call record before what the probe is to vouch for.")
        after = self._ask()
        both = ~(self.before.failed | after.failed)
        name, count = self.model.name, len(self)
        if 2 * int(both.sum()) < count:
            reason = next(iter((after.errors or self.before.errors).values()), "no reason given")
            raise DriftDetected(
                f"{name}: only {int(both.sum())} of {count} probe inputs were answered both before and after "
                f"({reason}), so that nothing says it is still the same; what was measured in between is void."
            )
        moved = self._moved(self.before, after) & both
        if bool(moved.any()):
            raise DriftDetected(
                f"{name} answers {int(moved.sum())} of {int(both.sum())} probe inputs otherwise than before"
                f"{self._example(after, int(torch.nonzero(moved)[0]))}; what was measured in between is void."
            )

    def _ask(self) -> Answers:
        with self.model.spending(DRIFT):
            return self.model.ask(self.inputs)

    def _moved(self, before: Answers, after: Answers) -> Tensor:
        if before.scores is None or after.scores is None:
            return before.labels != after.labels
        # Equal infinities (the logit of probability 0) have not moved.
        moved = torch.where(before.scores == after.scores, 0.0, (after.scores - before.scores).abs())
        finite = torch.where(torch.isfinite(before.scores), before.scores.abs(), 0.0)
        return (moved > self.tolerance * finite.amax(dim=1, keepdim=True).clamp(min=1.0)).any(dim=1)

    def _example(self, after: Answers, row: int) -> str:
        if self.before is None:
            return ""
        if self.before.scores is None or after.scores is None:
            return f", the first with label {int(after.labels[row])} where it was {int(self.before.labels[row])}"
        by = float((after.scores[row] - self.before.scores[row]).abs().max())
        return f", the first with a score that moved by {by:.3g} (tolerance {self.tolerance:g})"

    def __enter__(self) -> Self:
        self.record()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.check()

    def state_dict(self) -> dict[str, Any]:
        """Return the inputs and what was answered before: a resumed run compares with the first run's answers."""
        if self.before is None:
            return {"inputs": self.inputs}
        state = {"inputs": self.inputs, "labels": self.before.labels}
        return state if self.before.scores is None else {**state, "scores": self.before.scores}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned.

        Raises:
            CheckpointMismatch: If it is no such state, or of a probe of another model's form.
        """
        inputs, labels, scores = (state.get(name) for name in ("inputs", "labels", "scores"))
        if not isinstance(inputs, Tensor) or inputs.shape[1:] != self.model.input.shape:
            raise CheckpointMismatch(
                f"the state must hold (p, {', '.join(map(str, self.model.input.shape))}) inputs, got {brief(inputs)}."
            )
        self.inputs, self.before = inputs, None
        if labels is None:
            return
        has_scores = self.model.access != "label"
        shape = (len(inputs), self.model.classes) if has_scores else None
        if labels.shape != inputs.shape[:1] or (None if scores is None else tuple(scores.shape)) != shape:
            raise CheckpointMismatch(
                f"the state was recorded of a model with other access or classes than {self.model!r}."
            )
        failed = dict.fromkeys(torch.nonzero(labels < 0)[:, 0].tolist(), "it failed before the run was resumed")
        self.before = Answers(labels, scores, failed)


def probe_images(spec: InputSpec, count: int, seed: int = 0) -> Tensor:
    """Return `(count, *shape)` images over the range of the spec: every other one smooth, the rest uniform noise.

    Images of (channels, height, width) or (height, width) are smoothed; others have no neighbours to be smooth over.
    """
    check_count(count, "count")
    generator = torch_generator(seed, _STREAM)
    images = torch.rand(count, *spec.shape, generator=generator)
    if len(spec.shape) in (2, 3):
        height, width = spec.shape[-2:]
        coarse = torch.rand(count, max(1, spec.size // (height * width)), _COARSE, _COARSE, generator=generator)
        smooth = interpolate(coarse, size=(height, width), mode="bilinear", align_corners=True)
        images[1::2] = smooth.reshape(images.shape)[1::2]
    return spec.low + (spec.high - spec.low) * images
