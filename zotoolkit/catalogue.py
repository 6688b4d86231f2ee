"""What zotoolkit registers out of the box, as strings: nothing is imported before it is made."""

from __future__ import annotations

from zotoolkit.solver_registry import register_solver

_RECIPES = {
    "SGD-CGE": ("sgd_cge", "SGD on coordinate-wise finite differences"),
    "SGD-RGE": ("sgd_rge", "SGD on random-direction finite differences"),
    "Adam-CGE": ("adam_cge", "Adam on coordinate-wise finite differences"),
    "Adam-RGE": ("adam_rge", "Adam on random-direction finite differences"),
    "SignSGD": ("sign_sgd", "sign of a random-direction estimate"),
    "SPSA": ("spsa", "simultaneous perturbation, Spall's gain sequences"),
}


def _register_solvers() -> None:
    for name, (function, description) in _RECIPES.items():
        register_solver(f"ZO/{name}-v0", f"zotoolkit.solvers.recipes:{function}", description=description)


_register_solvers()
