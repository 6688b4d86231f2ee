"""What a corrector is measured by: roll-outs of the validation split along the way, of the test split at the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from problems.pde.measures import absolute_errors, relative_errors, valid_time
from zotoolkit.checks import check_choice, check_count, check_positive
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
    how many did is told beside them, and at the end also the median over trajectories. What is left of the simulator's
    own error, "of_uncorrected", is a ratio of means for "mae", and of medians for "relative_l2", which a single
    trajectory that blew up does not decide.

    Args:
        steps: After how many steps.
        figure: "mae" or "relative_l2".
        validation_steps: The one of them that `metrics` tells of the validation split, by which settings are chosen.
        baseline: Whether `final` also measures the simulator alone.
        valid_time: Of chaotic problems: relative l2 error above which a prediction is worth nothing. `final` then tells
            the mean time until that, over all frames that the test split has.

    Raises:
        InvalidSetting: If a setting is out of range.
    """

    steps: tuple[int, ...] = (8, 20)
    figure: str = "mae"
    validation_steps: int | None = None
    baseline: bool = True
    valid_time: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.steps, tuple) or not self.steps:
            raise InvalidSetting(f"steps must be a tuple of at least one number, got {brief(self.steps)}.")
        for number in self.steps:
            check_count(number, "steps")
        check_choice(self.figure, FIGURES, "figure")
        if self.validation_steps is not None:
            check_count(self.validation_steps, "validation_steps")
        if self.valid_time is not None:
            check_positive(self.valid_time, "valid_time")

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
        split, longest = objective.references.test, max(self.steps)
        for name, point in (("test", x), *((("uncorrected", None),) if self.baseline else ())):
            predicted = objective.corrected(point, split, longest if self.valid_time is None else split.frames - 1)
            errors = self.errors(predicted, objective.references, split)
            for steps in self.steps:
                figures[f"{name}_{self.figure}_{steps}"] = self._at(errors, steps)
                middle = self._each(errors, steps).quantile(0.5, interpolation="higher")
                figures[f"{name}_median_{self.figure}_{steps}"] = float(middle)
            figures[f"{name}_blown_up"] = float((~torch.isfinite(errors[longest])).sum())
            if self.valid_time is not None:
                figures[f"{name}_valid_time"] = self._valid(predicted, objective.references, split)
        if self.baseline:
            for steps in self.steps:
                name = self.figure if self.figure == "mae" else f"median_{self.figure}"
                ours, alone = figures[f"test_{name}_{steps}"], figures[f"uncorrected_{name}_{steps}"]
                figures[f"of_uncorrected_{steps}"] = ours / alone
        return figures

    def errors(self, predicted: Tensor, references: References, split: Trajectories) -> Tensor:
        """Return the `(T + 1, N)` errors of each state; infinite from where a trajectory blew up.

        Args:
            predicted: `(T + 1, N, *F)`.
            references: Whose layout says which entries count.
            split: The truth, of at least so many frames.
        """
        measure = absolute_errors if self.figure == "mae" else relative_errors
        return measure(predicted, *_truth(references, split, len(predicted)))

    def _valid(self, predicted: Tensor, references: References, split: Trajectories) -> float:
        true, where = _truth(references, split, len(predicted))
        times = valid_time(predicted, true, references.dt, threshold=self.valid_time or 0.0, where=where)
        return float(times.mean())

    def _at(self, errors: Tensor, steps: int) -> float:
        return float(self._each(errors, steps).mean())

    def _each(self, errors: Tensor, steps: int) -> Tensor:
        """Return the figure of each trajectory."""
        return errors[1 : steps + 1].mean(0) if self.figure == "mae" else errors[steps]


def _truth(references: References, split: Trajectories, frames: int) -> tuple[Tensor, Tensor | None]:
    """Return the `(frames, N, *F)` truth and which entries of a state count, None for all."""
    true = split.states[:, :frames].movedim(1, 0)
    return true, references.where
