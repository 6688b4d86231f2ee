"""The registry of problems: `register`, `make`, `spec`, `pprint_registry`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zotoolkit.objective import BlackBoxObjective
from zotoolkit.registration import EntrySpec, Registry, format_specs

objectives: Registry[BlackBoxObjective] = Registry("problem", "zotoolkit.problems")


def register(
    id: str,
    entry_point: str | Callable[..., BlackBoxObjective],
    *,
    kwargs: dict[str, Any] | None = None,
    description: str = "",
    solver: str | None = None,
    budget: int | None = None,
) -> None:
    """Register a problem under an id; see `zotoolkit.registration.Registry.register`."""
    objectives.register(id, entry_point, kwargs=kwargs, description=description, solver=solver, budget=budget)


def make(id: str, **kwargs: Any) -> BlackBoxObjective:
    """Make a registered problem.

    Args:
        id: `Family/Name-vN`, or `Family/Name` for the newest version.
        kwargs: The problem's own settings.

    Raises:
        UnknownId: If no such problem is registered; the message names the closest.
        UnknownSetting: If the problem has no such setting.

    Examples:
        >>> import zotoolkit
        >>> zotoolkit.make("Functions/Sphere-v0", dim=3).dim
        3
    """
    return objectives.make(id, **kwargs)


def spec(id: str) -> EntrySpec:
    """Return what is registered under an id."""
    return objectives.spec(id)


def pprint_registry() -> None:
    """Print all registered problems, a block a family."""
    print(format_specs(objectives.specs()))
