"""Every ```python block of the docs runs: a page's blocks in order, in one namespace, in a folder of their own.

A block that cannot run is marked by a comment before it, with the reason:

    <!-- not run: needs a cluster -->
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^(?P=indent)```\s*?$", re.MULTILINE | re.DOTALL
)
SKIP = re.compile(r"<!--\s*not run\s*(?P<colon>:?)\s*(?P<reason>.*?)\s*-->\s*$", re.DOTALL)


class Block(NamedTuple):
    """A block of Python: the line that its code starts at, the code, and why it is not run."""

    line: int
    code: str
    skipped: str | None


def blocks(text: str, name: str = "page") -> list[Block]:
    """Return the Python blocks of a page.

    Raises:
        ValueError: If a block is marked as not run without a reason.
    """
    found = []
    for match in FENCE.finditer(text):
        if match["language"] != "python":
            continue
        line = text.count("\n", 0, match.start("code")) + 1
        mark = SKIP.search(text[: match.start()])
        if mark is not None and not (mark["colon"] and mark["reason"]):
            raise ValueError(f"{name}:{line}: say why the block is not run: <!-- not run: reason -->")
        code = re.sub(f"^{match['indent']}", "", match["code"], flags=re.MULTILINE)
        found.append(Block(line, code, None if mark is None else mark["reason"]))
    return found


def program(page: Path) -> str:
    """The page as one Python file whose line numbers are the page's."""
    lines: list[str] = []
    for block in blocks(page.read_text(), page.name):
        if block.skipped is None:
            lines += [""] * (block.line - 1 - len(lines)) + block.code.splitlines()
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("page", [p for p in PAGES if "```python" in p.read_text()], ids=lambda p: p.name)
def test_blocks_run(page: Path, tmp_path: Path) -> None:
    (tmp_path / "page.py").write_text(program(page))
    environment = {**os.environ, "MPLBACKEND": "Agg", "PYTHONWARNINGS": "error::DeprecationWarning:__main__"}
    # Not as a script: worker processes would import it again. Named as the page, so that tracebacks tell its lines.
    run_page = f"exec(compile(open('page.py').read(), {page.name!r}, 'exec', dont_inherit=True))"
    run = subprocess.run(
        [sys.executable, "-c", run_page], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, f"{page.name}:\n{run.stderr[-3000:]}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"


def test_blocks_are_found_with_their_lines_and_marks() -> None:
    text = (
        "a\n```python\nx = 1\n```\n```sh\nls\n```\n"
        "<!-- not run: needs a GPU -->\n```python\ny\n```\n"
        "- z\n  ```python\n  z = 2\n  ```\n"
    )
    assert blocks(text) == [
        Block(3, "x = 1\n", None),
        Block(10, "y\n", "needs a GPU"),
        Block(14, "z = 2\n", None),
    ]


@pytest.mark.parametrize("mark", ["<!-- not run -->", "<!-- not run: -->", "<!-- not run because -->"])
def test_a_mark_needs_its_reason(mark: str) -> None:
    with pytest.raises(ValueError, match="page:3: say why the block is not run"):
        blocks(f"{mark}\n```python\nx\n```\n")
