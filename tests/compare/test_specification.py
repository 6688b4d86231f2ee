"""What is compared."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from zotoolkit.compare.specification import Comparison, Entry, parse_seeds, read_specification
from zotoolkit.errors import EntryPointFailed, InvalidSetting, UnknownId, UnknownSetting

TOYS = str(Path(__file__).with_name("toy_problems.py"))


def specification(**changes: Any) -> dict[str, Any]:
    given = {"problems": ["Toy/Quadratic"], "solvers": ["ZO/SGD-CGE", "ZO/SPSA"], "budget": 100, "seeds": 2}
    return {**given, "imports": [TOYS], **changes}


def test_ids_are_completed_and_labels_are_short() -> None:
    comparison = Comparison.from_dict(specification())
    assert [(entry.id, entry.label) for entry in comparison.solvers] == [
        ("ZO/SGD-CGE-v0", "SGD-CGE"),
        ("ZO/SPSA-v0", "SPSA"),
    ]
    assert comparison.seeds == (0, 1)


def test_the_same_solver_twice_is_told_apart_by_its_settings() -> None:
    solvers = ["ZO/SPSA-v0:a=0.1", "ZO/SPSA-v0:a=0.2,c=0.01", "Mine=ZO/SPSA-v0"]
    labels = [entry.label for entry in Comparison.from_dict(specification(solvers=solvers)).solvers]
    assert labels == ["SPSA (a=0.1)", "SPSA (a=0.2, c=0.01)", "Mine"]


def test_a_specification_survives_a_file(tmp_path: Path) -> None:
    comparison = Comparison.from_dict(specification(solvers=["A=ZO/SPSA-v0:a=0.1"], seeds="3-5", title="T"))
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(comparison.to_dict()))
    assert Comparison.from_dict(read_specification(path)) == comparison
    assert Comparison.from_dict(read_specification(path), stored=True) == comparison


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib comes with Python 3.11")
def test_toml(tmp_path: Path) -> None:
    path = tmp_path / "spec.toml"
    path.write_text(
        f'problems = ["Toy/Quadratic"]\nimports = ["{TOYS}"]\nbudget = 10\nseeds = [4]\n'
        '[[solvers]]\nid = "ZO/SPSA-v0"\nlabel = "S"\nsettings = {a = 0.5}\n'
    )
    comparison = Comparison.from_dict(read_specification(path))
    assert comparison.solvers == (Entry("ZO/SPSA-v0", {"a": 0.5}, "S"),)
    assert comparison.seeds == (4,)


def test_relative_imports_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import zotoolkit\n")
    comparison = Comparison.from_dict(specification(imports=[TOYS, "mine.py"]), tmp_path)
    assert comparison.imports == (TOYS, str(tmp_path / "mine.py"))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"problems": []}, InvalidSetting, "at least one of problems"),
        ({"problems": "Toy/Quadratic"}, InvalidSetting, "problems must be a list"),
        ({"problems": ["Toy/Quadratik"]}, UnknownId, "Did you mean 'Toy/Quadratic"),
        ({"problems": ["Toy/Quadratic:dmi=3"]}, UnknownSetting, "Did you mean 'dim'"),
        ({"solvers": ["ZO/SPSA:a=1", "ZO/SPSA:a=1"]}, InvalidSetting, "name them apart"),
        ({"solvers": ["A=ZO/SPSA", "a=ZO/SGD-CGE"]}, InvalidSetting, "two entries would be called 'a'"),
        ({"solvers": ["ZO/SPSA:a"]}, InvalidSetting, "key=value"),
        ({"solvers": [{"id": "ZO/SPSA", "setings": {}}]}, UnknownSetting, "Did you mean 'settings'"),
        ({"solvers": [{"settings": {}}]}, InvalidSetting, "needs 'id'"),
        ({"solvers": [3]}, InvalidSetting, "write ID"),
        ({"budget": 0}, InvalidSetting, "budget must be an integer of at least 1, got 0"),
        ({"budget": -5}, InvalidSetting, "got -5"),
        ({"budget": "many"}, InvalidSetting, "budget must be an integer"),
        ({"seeds": 0}, InvalidSetting, "seeds reads 5"),
        ({"seeds": [1, 1]}, InvalidSetting, "every seed counts once"),
        ({"seeds": [-1]}, InvalidSetting, "a seed must be an integer"),
        ({"bugdet": 5}, UnknownSetting, "Did you mean 'budget'"),
        ({"imports": ["no_such_module_here"]}, EntryPointFailed, "cannot import no_such_module_here"),
        ({"imports": ["no_such_file.py"]}, EntryPointFailed, "cannot import .*no_such_file.py"),
    ],
)
def test_what_cannot_be_used_is_said(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Comparison.from_dict(specification(**changes))


def test_a_missing_part_is_named() -> None:
    given = specification()
    del given["budget"]
    with pytest.raises(InvalidSetting, match="lacks 'budget'"):
        Comparison.from_dict(given)


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", '"text"'])
def test_a_file_that_is_no_specification(tmp_path: Path, content: str) -> None:
    path = tmp_path / "spec.json"
    path.write_text(content)
    with pytest.raises(InvalidSetting, match=r"spec\.json"):
        read_specification(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="cannot read"):
        read_specification(tmp_path / "none.json")


def test_seeds_of_all_forms() -> None:
    assert parse_seeds("0 1 2") == (0, 1, 2)
    assert parse_seeds("1, 4-6") == (1, 4, 5, 6)
    assert parse_seeds("7-7") == (7,)
    for wrong in ("", "a", "3-1", "1-99999999999", True, None, 2.5, []):
        with pytest.raises(InvalidSetting):
            parse_seeds(wrong)


def test_differences_are_told_in_words() -> None:
    first = Comparison.from_dict(specification())
    assert first.differences(Comparison.from_dict(specification(title="another title"))) == []
    changed = Comparison.from_dict(specification(budget=200, seeds=3, solvers=["ZO/SGD-CGE", "ZO/SPSA:a=1"]))
    assert first.differences(changed) == [
        "solvers without ZO/SPSA-v0 and with ZO/SPSA-v0:a=1",
        "seeds [0, 1, 2] instead of [0, 1]",
        "budget 200 instead of 100",
    ]


def test_references_are_known_by_their_family() -> None:
    assert Entry("Reference/SGD-v0").reference
    assert not Entry("ZO/SPSA-v0").reference


def test_other_references_are_said_to_be_some() -> None:
    entry = Entry.parse({"id": "ZO/SPSA-v0", "reference": True})
    assert entry.reference
    assert Entry.parse(entry.to_dict()) == entry
    assert "reference" not in Entry("ZO/SPSA-v0").to_dict()
    assert not Entry.parse({"id": "ZO/SPSA-v0", "reference": False}).reference
    with pytest.raises(InvalidSetting, match="must be true or false, got 'yes'"):
        Entry.parse({"id": "ZO/SPSA-v0", "reference": "yes"})
