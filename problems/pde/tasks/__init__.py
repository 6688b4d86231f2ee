"""The family's registered problems."""

from problems.pde.tasks.burgers import correct_burgers
from problems.pde.tasks.forced_burgers import correct_forced_burgers
from problems.pde.tasks.kuramoto_sivashinsky import correct_kuramoto_sivashinsky
from problems.pde.tasks.smoke import correct_smoke
from problems.pde.tasks.wake_flow import correct_wake_flow

__all__ = [
    "correct_burgers",
    "correct_forced_burgers",
    "correct_kuramoto_sivashinsky",
    "correct_smoke",
    "correct_wake_flow",
]
