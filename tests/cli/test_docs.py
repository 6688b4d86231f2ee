"""What the pages on the command line tell people to type is understood."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

import zotoolkit
from zotoolkit.cli import main, make_parser
from zotoolkit.cli.common import split_settings
from zotoolkit.cli.compare import _comparison
from zotoolkit.compare.results import load_results
from zotoolkit.compare.specification import Comparison, Entry, labelled, problem_spec, solver_spec

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("cli.md", "comparing.md", "certification.md")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    found = []
    for page in PAGES:
        for block in blocks(page, "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                if words[:1] == ["zotoolkit"] and "..." not in words:
                    found.append(words[1:])
    return found


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_a_command_is_understood(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spec.json").write_text(blocks("comparing.md", "json")[0])
    (tmp_path / "my_problem.py").write_text(blocks("cli.md", "python")[0])
    arguments = make_parser().parse_args(words)
    if words[0] == "compare":
        assert isinstance(_comparison(arguments), Comparison)
    elif words[0] == "run" and not arguments.imports:
        of_problem, of_solver = split_settings(arguments.settings)
        labelled([Entry(arguments.problem, of_problem)], problem_spec)
        solver = arguments.solver or zotoolkit.spec(arguments.problem).solver
        assert solver is not None
        labelled([Entry(solver, of_solver)], solver_spec)
    elif words[0] in ("list", "describe") and "ID" not in words and not arguments.imports:
        assert main(words) == 0


def test_the_problem_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_problem.py").write_text(blocks("cli.md", "python")[0])
    command = "run Mine/Valley --import my_problem.py --solver ZO/SPSA --budget 60 --no-progress --out runs/valley"
    assert main(command.split()) == 0
    results = load_results(tmp_path / "runs" / "valley")
    assert results.frame["noise_free_best"].isna().all()
    assert results.frame["queries"].max() == 60


def test_the_specification_and_the_python_of_the_page_are_right(tmp_path: Path) -> None:
    comparison = Comparison.from_dict(json.loads(blocks("comparing.md", "json")[0]))
    assert [entry.label for entry in comparison.solvers] == ["lr 0.1", "lr 1"]
    for block in blocks("comparing.md", "python"):
        compile(block, "comparing.md", "exec")


def test_links_between_the_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target, anchor in re.findall(r"\]\(([\w-]+\.md)(?:#([\w-]+))?\)", (DOCS / page).read_text()):
            assert (DOCS / target).is_file()
            headings = re.findall(r"^#+ (.*)$", (DOCS / target).read_text(), re.MULTILINE)
            assert not anchor or anchor in {heading.lower().replace(" ", "-") for heading in headings}


def test_nothing_of_the_error_in_the_page_has_changed(capsys: pytest.CaptureFixture[str]) -> None:
    call, answer = next(block for block in blocks("cli.md", "text") if block.startswith("$ ")).splitlines()
    assert main(shlex.split(call)[2:]) == 2
    assert capsys.readouterr().err.strip() == answer
