"""What is compared: problems x solvers x seeds under one budget, as plain data that fits into a file."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from zotoolkit.checks import check_count
from zotoolkit.compare.imports import check_imports
from zotoolkit.compare.settings import format_settings, parse_pairs, split_list
from zotoolkit.errors import InvalidSetting, UnknownSetting, brief, did_you_mean
from zotoolkit.registration import EntrySpec, check_settings
from zotoolkit.seeding import check_seed

_ENTRY = re.compile(r"(?:(?P<label>[^=:/]+)=)?(?P<id>[^:=]+)(?::(?P<settings>.*))?", re.DOTALL)
_RANGE = re.compile(r"(\d+)-(\d+)")
_MOST_SEEDS = 10_000

REFERENCE_FAMILY = "Reference"
"""Solvers of this family see more than queries; they are drawn as a reference line and never ranked."""


@dataclass(frozen=True)
class Entry:
    """A problem or a solver that takes part.

    Attributes:
        id: What the registry knows it by.
        settings: What it is made with.
        label: What figures and tables call it; empty until `labelled` finds a short one.
        marked: Whether it was said to be a reference line; solvers of the family `Reference` always are.
    """

    id: str
    settings: dict[str, Any] = field(default_factory=dict)
    label: str = ""
    marked: bool = False

    @classmethod
    def parse(cls, given: object) -> Entry:
        """Read `ID`, `ID:key=value,key=value`, `LABEL=ID:...` or a dict with "id", "settings", "label", "reference".

        Raises:
            InvalidSetting: If it reads otherwise.

        Examples:
            >>> Entry.parse("CGE=ZO/SGD-CGE-v0:lr=0.1,mu=0.01")
            Entry(id='ZO/SGD-CGE-v0', settings={'lr': 0.1, 'mu': 0.01}, label='CGE', marked=False)
        """
        if isinstance(given, Entry):
            return given
        if isinstance(given, dict):
            _check_keys(given, ("id", "settings", "label", "reference"), "an entry")
            settings, marked = given.get("settings", {}), given.get("reference", False)
            if not isinstance(given.get("id"), str) or not isinstance(settings, dict):
                raise InvalidSetting(f"an entry needs 'id', a text, and may have 'settings', a table; got {given!r}.")
            if not isinstance(marked, bool):
                raise InvalidSetting(f"'reference' of an entry must be true or false, got {brief(marked)}.")
            return cls(given["id"], dict(settings), str(given.get("label", "")).strip(), marked)
        match = _ENTRY.fullmatch(given.strip()) if isinstance(given, str) else None
        if match is None:
            raise InvalidSetting(f"write ID, ID:key=value,key=value or LABEL=ID:key=value, got {brief(given)}.")
        pairs = split_list(match["settings"]) if match["settings"] else []
        return cls(match["id"].strip(), parse_pairs(pairs), (match["label"] or "").strip())

    @property
    def reference(self) -> bool:
        """Whether this is a reference line rather than a competitor."""
        return self.marked or self.id.partition("/")[0] == REFERENCE_FAMILY

    def to_dict(self) -> dict[str, Any]:
        """Return the entry as plain data."""
        marked = {"reference": True} if self.marked else {}
        return {"label": self.label, "id": self.id, "settings": self.settings, **marked}

    def __str__(self) -> str:
        return self.id + (f":{format_settings(self.settings)}" if self.settings else "")


@dataclass(frozen=True)
class Comparison:
    """All that decides a comparison's numbers, and its title.

    Args:
        problems: What is minimised.
        solvers: Who minimises it.
        budget: Queries that every solver may spend on every problem.
        seeds: One run a seed; the same seed means the same start and the same noise for every solver.
        device: "cpu" or "cuda", for the problems that take a device.
        title: Of the report.
        imports: Modules or .py files to import first, which register problems or solvers of their own.
        checkpoint_seconds: Seconds between two checkpoints of a cell.

    Raises:
        InvalidSetting: If something is missing, out of range or there twice.
    """

    problems: tuple[Entry, ...]
    solvers: tuple[Entry, ...]
    budget: int
    seeds: tuple[int, ...]
    device: str = "cpu"
    title: str = ""
    imports: tuple[str, ...] = ()
    checkpoint_seconds: float = 30.0

    def __post_init__(self) -> None:
        check_count(self.budget, "budget")
        for name in ("problems", "solvers", "seeds"):
            if not getattr(self, name):
                raise InvalidSetting(f"a comparison needs at least one of {name}.")
        if len(set(self.seeds)) < len(self.seeds):
            raise InvalidSetting(f"every seed counts once, got {list(self.seeds)}.")
        for seed in self.seeds:
            check_seed(seed)

    @classmethod
    def from_dict(cls, given: object, folder: Path | None = None, *, stored: bool = False) -> Comparison:
        """Read a specification.

        Args:
            given: The keys are this class's arguments; problems and solvers are lists of what `Entry.parse` takes,
                seeds a number of seeds, a list of them, or a text such as "0-4".
            folder: What relative .py files among the imports are relative to.
            stored: Whether `to_dict` made it: then nothing is imported and no registry is asked, so that results can be
                looked at where a plug-in is missing.

        Raises:
            InvalidSetting, UnknownSetting: If it cannot be used.
            UnknownId: If a problem or solver is not registered.
        """
        names = ("problems", "solvers", "budget", "seeds", "device", "title", "imports", "checkpoint_seconds")
        if not isinstance(given, dict):
            raise InvalidSetting(f"a specification is a table with {', '.join(names[:4])}, got {brief(given)}.")
        _check_keys(given, names, "a specification")
        if missing := [name for name in names[:3] if name not in given]:
            raise InvalidSetting(f"the specification lacks {missing[0]!r}; it needs {', '.join(names[:3])}.")
        imports = _as_list(given.get("imports", []), "imports")
        problems, solvers = (
            tuple(Entry.parse(entry) for entry in _as_list(given[name], name)) for name in ("problems", "solvers")
        )
        if not stored:
            imports = check_imports(imports, folder)
            problems, solvers = labelled(problems, problem_spec), labelled(solvers, solver_spec)
        return cls(
            problems=problems,
            solvers=solvers,
            budget=check_count(given["budget"], "budget"),
            seeds=parse_seeds(given.get("seeds", 5)),
            device=str(given.get("device", "cpu")),
            title=str(given.get("title", "")),
            imports=tuple(imports),
            checkpoint_seconds=float(given.get("checkpoint_seconds", 30.0)),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the specification as plain data, which `from_dict` reads back."""
        return {
            "title": self.title,
            "problems": [entry.to_dict() for entry in self.problems],
            "solvers": [entry.to_dict() for entry in self.solvers],
            "budget": self.budget,
            "seeds": list(self.seeds),
            "device": self.device,
            "imports": list(self.imports),
            "checkpoint_seconds": self.checkpoint_seconds,
        }

    def differences(self, other: Comparison) -> list[str]:
        """Return in words what would give other numbers in the other specification; empty if nothing would."""
        found = []
        for name in ("problems", "solvers", "seeds", "budget", "device", "imports"):
            mine, its = getattr(self, name), getattr(other, name)
            if mine == its:
                continue
            if name in ("problems", "solvers"):
                gone = [str(entry) for entry in mine if entry not in its]
                new = [str(entry) for entry in its if entry not in mine]
                words = [f"without {', '.join(gone)}"] * bool(gone) + [f"with {', '.join(new)}"] * bool(new)
                found.append(f"{name} {' and '.join(words) or 'in another order'}")
            else:
                found.append(f"{name} {_plain(its)} instead of {_plain(mine)}")
        return found


def problem_spec(id: str) -> EntrySpec:
    """Return what the registry of problems knows of an id."""
    from zotoolkit import problem_registry

    return problem_registry.spec(id)


def solver_spec(id: str) -> EntrySpec:
    """Return what the registry of solvers knows of an id."""
    from zotoolkit import solver_registry

    return solver_registry.solver_spec(id)


def labelled(entries: Sequence[Entry], spec: Callable[[str], EntrySpec]) -> tuple[Entry, ...]:
    """Complete ids with their version, check settings, and give every entry a label of its own.

    Args:
        entries: As they were parsed.
        spec: Looks an id up.

    Raises:
        InvalidSetting: If a label stands twice.
        UnknownId: If an id is not registered.
        UnknownSetting: If an entry has no such setting.
    """
    full = []
    for entry in entries:
        registered = spec(entry.id)
        check_settings(registered.load(), {**registered.kwargs, **entry.settings}, registered.id)
        full.append(replace(entry, id=registered.id))
    names = [entry.label or _short(entry.id) for entry in full]
    result = []
    for entry, name in zip(full, names, strict=True):
        if not entry.label and names.count(name) > 1 and entry.settings:
            name = f"{name} ({format_settings(entry.settings).replace(',', ', ')})"
        result.append(replace(entry, label=name))
    taken: set[str] = set()
    for entry in result:
        if slug(entry.label) in taken:
            raise InvalidSetting(
                f"two entries would be called {entry.label!r}; name them apart: NAME={entry}.",
            )
        taken.add(slug(entry.label))
    return tuple(result)


def parse_seeds(given: object) -> tuple[int, ...]:
    """Return the seeds.

    Args:
        given: A number n stands for seeds 0 to n - 1; a list, or a text such as "3-7" or "1,4,9", for those.

    Raises:
        InvalidSetting: If it reads otherwise.

    Examples:
        >>> parse_seeds(3), parse_seeds("3-5"), parse_seeds([7]), parse_seeds("1,4")
        ((0, 1, 2), (3, 4, 5), (7,), (1, 4))
    """
    if isinstance(given, str):
        given = [part for part in re.split(r"[,\s]+", given.strip()) if part]
        if len(given) == 1 and given[0].isdigit():
            given = int(given[0])
    if isinstance(given, (list, tuple)):
        seeds: list[int] = []
        for part in given:
            match = _RANGE.fullmatch(part) if isinstance(part, str) else None
            if match is not None and int(match[2]) - int(match[1]) < _MOST_SEEDS:
                seeds.extend(range(int(match[1]), int(match[2]) + 1))
            elif isinstance(part, str) and not part.isdigit():
                seeds = []
                break
            else:
                seeds.append(check_seed(int(part) if isinstance(part, str) else part, "a seed"))
        if seeds:
            return tuple(seeds)
    elif isinstance(given, int) and not isinstance(given, bool) and 1 <= given <= _MOST_SEEDS:
        return tuple(range(given))
    raise InvalidSetting(f"seeds reads 5 (which is 0 to 4), 3-7 or 1,4,9, got {brief(given)}.")


def read_specification(path: str | Path) -> dict[str, Any]:
    """Read a specification file.

    Args:
        path: JSON, or TOML where Python is 3.11 or newer or the package tomli is installed.

    Raises:
        InvalidSetting: If it cannot be read.
    """
    path = Path(path)
    try:
        if path.suffix.lower() == ".toml":
            content = _toml().loads(path.read_text(encoding="utf-8"))
        else:
            content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidSetting(f"cannot read the specification {path}: {error.strerror or error}.") from error
    except ValueError as error:
        raise InvalidSetting(f"{path} is not valid {path.suffix.lstrip('.').upper() or 'JSON'}: {error}.") from error
    if not isinstance(content, dict):
        raise InvalidSetting(f"{path} must hold a table with problems, solvers and budget.")
    return content


def slug(text: str) -> str:
    """Return a folder name for a label.

    Examples:
        >>> slug("SGD-CGE (lr=0.1)")
        'sgd-cge-lr-0.1'
    """
    return re.sub(r"[^a-z0-9.+_]+", "-", text.lower()).strip("-.") or "unnamed"


def _short(id: str) -> str:
    return re.sub(r"-v\d+$", "", id.partition("/")[2])


def _toml() -> Any:
    if sys.version_info >= (3, 11):
        import tomllib

        return tomllib
    try:
        import tomli  # pyright: ignore[reportMissingImports] - Python 3.10 only
    except ImportError as error:
        raise InvalidSetting(
            "TOML needs Python 3.11 or newer, or `pip install tomli`; the same specification as JSON always works."
        ) from error
    return tomli


def _check_keys(given: dict[str, Any], known: Sequence[str], what: str) -> None:
    for key in given:
        if key not in known:
            raise UnknownSetting(f"{what} has no {key!r}; it has {', '.join(known)}.{did_you_mean(str(key), known)}")


def _as_list(given: object, name: str) -> list[Any]:
    if isinstance(given, (list, tuple)):
        return list(given)
    raise InvalidSetting(f"{name} must be a list, got {brief(given)}.")


def _plain(value: object) -> str:
    return str(list(value)) if isinstance(value, tuple) else str(value)
