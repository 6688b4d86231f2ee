"""The interface of callbacks: what looks on while `minimize` runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zotoolkit.run import Run


class Callback:
    """Looks on while `minimize` runs; every method is optional.

    A callback must not query the objective through `step`, or the budget would not be what it says; `noise_free` and
    `metrics` are free.
    """

    def on_start(self, run: Run) -> None:
        """Called before the first iteration, after a checkpoint has been loaded."""

    def on_iteration(self, run: Run) -> bool | None:
        """Called after every iteration; returning True stops the run."""

    def on_end(self, run: Run) -> None:
        """Called once the run has ended, also by an error or Ctrl-C."""

    def state_dict(self) -> dict[str, Any]:
        """Return what belongs into the checkpoint: tensors, numbers, texts, dicts and lists."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned, before `on_start`."""
