"""Registries of objectives and solvers by id, after gymnasium's conventions.

An id reads `Family/Name-vN`. Entries are registered with a lazy entry point "module:attribute", so that listing costs
no import. Third parties announce a module under the entry-point group `zotoolkit.problems` (or `zotoolkit.solvers`);
it is imported once, on the first look-up, and calls `register` itself.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from importlib import metadata
from typing import Any, Generic, TypeVar

from zotoolkit.checks import check_count
from zotoolkit.errors import (
    EntryPointFailed,
    InvalidId,
    InvalidSetting,
    UnknownId,
    UnknownSetting,
    brief,
    did_you_mean,
)

T = TypeVar("T")
_ID = re.compile(r"(?P<family>[A-Za-z0-9_.-]+)/(?P<name>[A-Za-z0-9_.+-]*?)(?:-v(?P<version>[0-9]+))?")


@dataclass(frozen=True)
class EntrySpec:
    """What the registry knows of an id.

    Attributes:
        id: `Family/Name-vN`.
        entry_point: "module:attribute" or a callable that builds the thing.
        kwargs: Settings that `make` passes, with the caller's own on top.
        description: One line for listings.
        solver: Id of the solver that `zotoolkit run` takes where none is named.
        budget: Queries that it may spend where no other number is given.
    """

    id: str
    entry_point: str | Callable[..., Any]
    kwargs: dict[str, Any] = field(default_factory=dict)
    description: str = ""
    solver: str | None = None
    budget: int | None = None

    @property
    def family(self) -> str:
        """What stands before the slash."""
        return self.id.partition("/")[0]

    @property
    def key(self) -> str:
        """The id without its version."""
        return self.id.rpartition("-v")[0]

    @property
    def version(self) -> int:
        """N of `-vN`."""
        return int(self.id.rpartition("-v")[2])

    def load(self) -> Callable[..., Any]:
        """Import what builds the thing.

        Raises:
            EntryPointFailed: If the module or the attribute is not there.
        """
        if not isinstance(self.entry_point, str):
            return self.entry_point
        module, _, attribute = self.entry_point.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise EntryPointFailed(f"{self.id}: cannot load {self.entry_point!r}: {error}.") from error


class Registry(Generic[T]):
    """Ids and how to make what they stand for.

    Args:
        kind: What the entries are, for messages: "problem" or "solver".
        entry_point_group: Group under which installed distributions announce modules that register more.
    """

    def __init__(self, kind: str, entry_point_group: str) -> None:
        self._kind = kind
        self._group = entry_point_group
        self._specs: dict[str, EntrySpec] = {}
        self._families: dict[str, Callable[[], Iterator[EntrySpec]]] = {}
        self._loaded = False

    def register(
        self,
        id: str,
        entry_point: str | Callable[..., T],
        *,
        kwargs: dict[str, Any] | None = None,
        description: str = "",
        solver: str | None = None,
        budget: int | None = None,
    ) -> None:
        """Add an entry.

        Args:
            id: `Family/Name-vN`.
            entry_point: "module:attribute" or a callable.
            kwargs: Default settings.
            description: One line for listings.
            solver: Id of the solver that `zotoolkit run` takes where none is named; of problems only.
            budget: Queries that it may spend where no other number is given.

        Raises:
            InvalidId: If the id, or that of the solver, does not read so.
            InvalidSetting: If the id is taken by something else, the entry point is neither text nor callable, or the
                budget no integer of at least 1.
        """
        match = _ID.fullmatch(id) if isinstance(id, str) else None
        if match is None or match["version"] is None or not match["name"]:
            raise InvalidId(f"an id reads 'Family/Name-vN', such as 'Functions/Sphere-v0', got {brief(id)}.")
        if isinstance(entry_point, str):
            if not re.fullmatch(r"[^:\s]+:[^:\s]+", entry_point):
                raise InvalidSetting(f"{id}: entry_point must read 'module:attribute', got {entry_point!r}.")
        elif not callable(entry_point):
            raise InvalidSetting(
                f"{id}: entry_point must be 'module:attribute' or a callable, got {brief(entry_point)}."
            )
        if solver is not None and (not isinstance(solver, str) or not _ID.fullmatch(solver)):
            raise InvalidId(f"{id}: solver must be the id of one, such as 'ZO/SGD-CGE-v0', got {brief(solver)}.")
        if budget is not None:
            check_count(budget, "budget")
        entry = EntrySpec(id, entry_point, copy.deepcopy(kwargs or {}), description, solver, budget)
        if id in self._specs and self._specs[id] != entry:
            raise InvalidSetting(f"{self._kind} {id!r} is registered already, as {self._specs[id].entry_point!r}.")
        self._specs[id] = entry

    def register_family(self, family: str, entries: Callable[[], Iterator[EntrySpec]]) -> None:
        """Add a whole family whose entries are listed only when one of them is asked for."""
        self._families[family] = entries

    def spec(self, id: str) -> EntrySpec:
        """Return the entry of an id; without `-vN` the newest version.

        Raises:
            InvalidId: If the id does not read `Family/Name-vN`.
            UnknownId: If there is no such entry; the message names the closest one.
        """
        match = _ID.fullmatch(id) if isinstance(id, str) else None
        if match is None or not match["name"]:
            raise InvalidId(f"a {self._kind} id reads 'Family/Name-vN', such as {self._example()!r}, got {brief(id)}.")
        self._load_third_parties()
        self._load_family(match["family"])
        if id in self._specs:
            return self._specs[id]
        if match["version"] is None:
            versions = [spec for spec in self._specs.values() if spec.key == id]
            if versions:
                return max(versions, key=lambda spec: spec.version)
        raise UnknownId(self._unknown(id, match["family"], match["name"]))

    def make(self, id: str, **kwargs: Any) -> T:
        """Build what the id stands for.

        Args:
            id: `Family/Name-vN`, or without `-vN` for the newest.
            kwargs: Settings, on top of the registered ones.

        Raises:
            UnknownId: If there is no such entry.
            UnknownSetting: If a setting is not one of the entry's; the message names the closest one.
        """
        entry = self.spec(id)
        build = entry.load()
        settings = {**copy.deepcopy(entry.kwargs), **kwargs}
        check_settings(build, settings, entry.id)
        made = build(**settings)
        made.spec = replace(entry, kwargs=settings)
        return made

    def specs(self) -> list[EntrySpec]:
        """Return all entries, sorted by id."""
        self._load_third_parties()
        for family in list(self._families):
            self._load_family(family)
        return sorted(self._specs.values(), key=lambda spec: spec.id)

    def _load_family(self, family: str) -> None:
        entries = self._families.pop(family, None)
        for entry in entries() if entries is not None else ():
            self._specs.setdefault(entry.id, entry)

    def _load_third_parties(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        for point in metadata.entry_points(group=self._group):
            try:
                point.load()
            except Exception as error:
                warnings.warn(f"plug-in {point.name!r} ({point.value}) could not be loaded: {error}", stacklevel=3)

    def _example(self) -> str:
        return next(iter(self._specs), "Functions/Sphere-v0")

    def _unknown(self, id: str, family: str, name: str) -> str:
        families = {spec.family for spec in self._specs.values()} | set(self._families)
        if family not in families:
            hint = did_you_mean(id, self._specs) or did_you_mean(family, families)
            return (
                f"no {self._kind} family {family!r} (asked for {id!r}); families: {', '.join(sorted(families))}.{hint}"
            )
        same = [spec for spec in self._specs.values() if spec.key == f"{family}/{name}"]
        if same:
            versions = ", ".join(f"v{spec.version}" for spec in same)
            return f"no version of {self._kind} {family}/{name} fits {id!r}; there is {versions}."
        hint = did_you_mean(id, [key for spec in self._specs.values() for key in (spec.id, spec.key)])
        return f"no {self._kind} {id!r}.{hint} `zotoolkit list` shows all."


def check_settings(build: Callable[..., Any], settings: dict[str, Any], name: str) -> None:
    """Check keywords against a callable's signature.

    Raises:
        UnknownSetting: If one is not a parameter, or a required one is missing.
    """
    signature = inspect.signature(build).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in signature.values())
    parameters = {key: p for key, p in signature.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    for key in settings:
        if key not in parameters and not takes_any:
            known = ", ".join(parameters) or "none"
            raise UnknownSetting(f"{name} has no setting {key!r}; settings: {known}.{did_you_mean(key, parameters)}")
    if missing := [key for key, p in parameters.items() if p.default is p.empty and key not in settings]:
        raise UnknownSetting(f"{name} needs the setting {missing[0]!r}.")


def format_specs(specs: list[EntrySpec]) -> str:
    """Return a listing of entries, a block a family."""
    lines: list[str] = []
    family = None
    width = max((len(spec.id) for spec in specs), default=0)
    for spec in specs:
        if spec.family != family:
            family = spec.family
            lines.append(f"===== {family} =====")
        lines.append(f"{spec.id:<{width}}  {spec.description}".rstrip())
    return "\n".join(lines)
