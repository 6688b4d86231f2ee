"""What a corrector is measured by: roll-outs of the validation split along the way, of the test split at the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from problems.pde.measures import absolute_errors, relative_errors
from problems.pde.simulators.wake.staggered import face_mask
from zotoolkit.checks import check_choice, check_count
from zotoolkit.errors import InvalidSetting, brief

if TYPE_CHECKING:
    from problems.pde.correct_simulator import CorrectSimulator
    from problems.pde.references import References, Trajectories

FIGURES = ("mae", "relative_l2")


@dataclass(frozen=True)
class Measures:
    """How far, and by which figure.

    "mae" at n steps is the mean absolute error over the first n states after the start; "relative_l2" is the error's
    length over the reference's at state n. Both are averaged over trajectories, and infinite if one of them blew up;
    how many did is told beside them, and at the end also the median over trajectories.

    Args:
        steps: After how many steps.
        figure: "mae" or "relative_l2".
        validation_steps: The one of them that `metrics` tells of the validation split, by which settings are chosen.
        baseline: Whether `final` also measures the simulator alone.

    Raises:
        InvalidSetting: If a setting is out of range.
    """

    steps: tuple[int, ...] = (8, 20)
    figure: str = "mae"
    validation_steps: int | None = None
    baseline: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.steps, tuple) or not self.steps:
            raise InvalidSetting(f"steps must be a tuple of at least one number, got {brief(self.steps)}.")
        for number in self.steps:
            check_count(number, "steps")
        check_choice(self.figure, FIGURES, "figure")
        if self.validation_steps is not None:
            check_count(self.validation_steps, "validation_steps")

    @property
    def validated(self) -> int:
        """Steps that the validation split is rolled out for."""
        return self.steps[0] if self.validation_steps is None else self.validation_steps

    def check(self, references: References) -> None:
        """See whether the reference trajectories are long enough.

        Raises:
            InvalidSetting: If not.
        """
        for split, steps in (("test", max(self.steps)), ("validation", self.validated)):
            frames = getattr(references, split).frames
            if steps >= frames:
                raise InvalidSetting(f"{steps} steps need {steps + 1} frames; the {split} data have {frames}.")

    def quick(self, objective: CorrectSimulator, x: Tensor) -> dict[str, float]:
        """Return the figure on the validation split."""
        predicted = objective.corrected(x, objective.references.validation, self.validated)
        errors = self.errors(predicted, objective.references, objective.references.validation)
        return {f"validation_{self.figure}_{self.validated}": self._at(errors, self.validated)}

    def final(self, objective: CorrectSimulator, x: Tensor) -> dict[str, float]:
        """Return the figures on the test split, of the corrected simulator and of the simulator alone."""
        figures: dict[str, float] = {}
        split = objective.references.test
        for name, point in (("test", x), *((("uncorrected", None),) if self.baseline else ())):
            predicted = objective.corrected(point, split, max(self.steps))
            errors = self.errors(predicted, objective.references, split)
            for steps in self.steps:
                figures[f"{name}_{self.figure}_{steps}"] = self._at(errors, steps)
                middle = self._each(errors, steps).quantile(0.5, interpolation="higher")
                figures[f"{name}_median_{self.figure}_{steps}"] = float(middle)
            figures[f"{name}_blown_up"] = float((~torch.isfinite(errors[-1])).sum())
        if self.baseline:
            for steps in self.steps:
                alone = figures[f"uncorrected_{self.figure}_{steps}"]
                figures[f"of_uncorrected_{steps}"] = figures[f"test_{self.figure}_{steps}"] / alone
        return figures

    def errors(self, predicted: Tensor, references: References, split: Trajectories) -> Tensor:
        """Return the `(T + 1, N)` errors of each state; infinite from where a trajectory blew up.

        Args:
            predicted: `(T + 1, N, *F)`.
            references: Whose layout says which entries count.
            split: The truth, of at least so many frames.
        """
        true = split.states[:, : len(predicted)].movedim(1, 0)
        where = face_mask(references.fields).to(true.device) if references.layout == "staggered" else None
        measure = absolute_errors if self.figure == "mae" else relative_errors
        return measure(predicted, true, where)

    def _at(self, errors: Tensor, steps: int) -> float:
        return float(self._each(errors, steps).mean())

    def _each(self, errors: Tensor, steps: int) -> Tensor:
        """Return the figure of each trajectory."""
        return errors[1 : steps + 1].mean(0) if self.figure == "mae" else errors[steps]
