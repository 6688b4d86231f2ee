"""The page: complete, self-contained, and right in a real browser."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.compare.tables import write_comparison
from tests.compare.toy_problems import GIF, png
from zotoolkit.compare.plots import draw_all
from zotoolkit.compare.report import render, write_report
from zotoolkit.compare.results import Results, load_results
from zotoolkit.compare.text import final_text
from zotoolkit.errors import CheckpointMissing, MissingExtra
from zotoolkit.figures import Drawing

SECTIONS = ("curves", "final", "ranks", "profiles", "settings", "failures", "environment", "reading")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("made up & more")
    write_comparison(folder)
    return load_results(folder)


@pytest.fixture(scope="module")
def page(results: Results) -> str:
    return write_report(results, draw_all(results, [])).read_text(encoding="utf-8")


class _Reader(HTMLParser):
    """Collects tags, addresses and visible text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id" and value:
                self.ids.append(value)
            if name in ("src", "href", "xlink:href", "data", "action", "srcset", "poster"):
                self.addresses.append(value or "")

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_all_sections_are_there(page: str) -> None:
    reader = _Reader(page)
    assert [name for name in SECTIONS if name not in reader.ids] == []
    assert len(reader.ids) == len(set(reader.ids))
    assert reader.tags.count("svg") == 9


def test_nothing_is_fetched_from_anywhere(page: str) -> None:
    reader = _Reader(page)
    assert all(address.startswith("#") for address in reader.addresses)
    assert not {"script", "link", "iframe", "object", "embed", "img", "base"} & set(reader.tags)
    assert all(address.startswith("#") for address in re.findall(r"url\(([^)]*)\)", page))
    assert "@import" not in page
    # XML name spaces are names, not addresses.
    assert re.sub(r'xmlns(:\w+)?="[^"]*"', "", page).count("://") == 0


def test_what_was_measured_is_said(page: str) -> None:
    text = " ".join(" ".join(_Reader(page).text).split())
    assert "3 solvers and a reference line (First-order) on 2 problems, 1,000 queries a run, 7 seeds." in text
    assert "1 of 56 runs failed , 1 have not finished" in text or "1 of 56 runs failed, 1 have not finished" in text
    assert "Problem B: CGE has the lowest median loss." in text
    assert "lr=0.1" in text
    assert "mu=0.005" in text
    assert "a fast one" in text
    assert "zotoolkit compare --out somewhere" in text
    assert "Problem A / SPSA / seed 2" in text
    assert "5 of 7" in text


def test_labels_and_messages_cannot_inject_markup(page: str) -> None:
    assert "<Random>" not in page
    assert "<b>too" not in page
    assert "Made up &lt;here&gt;" in page


def test_few_seeds_show_no_p_value(tmp_path: Path) -> None:
    write_comparison(tmp_path, seeds=5)
    text = render(load_results(tmp_path), [])
    assert "With 5 seeds no signed-rank test can reach" in text
    assert "Wilcoxon" not in text


def test_one_problem_and_one_seed_leave_out_what_has_no_meaning(tmp_path: Path) -> None:
    write_comparison(tmp_path, seeds=1, problems=1)
    text = render(load_results(tmp_path), [])
    reader = _Reader(text)
    assert "ranks" not in reader.ids
    assert "profiles" not in reader.ids
    assert "95 % interval" not in text


def test_without_jinja_the_extra_is_named(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtra, match=r"pip install 'zotoolkit\[plot\]'"):
        render(results, [])


def test_a_title_of_its_own_is_found_where_none_was_given(results: Results) -> None:
    untitled = dataclasses.replace(results, comparison=dataclasses.replace(results.comparison, title=""))
    assert "<title>3 solvers on 2 problems</title>" in render(untitled, [])


def test_folders_without_results_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(CheckpointMissing, match="there is no folder"):
        load_results(tmp_path / "none")
    with pytest.raises(CheckpointMissing, match="holds no results"):
        load_results(tmp_path)
    write_comparison(tmp_path, seeds=1)
    shutil.rmtree(tmp_path / "cells")
    with pytest.raises(CheckpointMissing, match="no run in it has finished yet"):
        load_results(tmp_path)


def test_the_terminals_table(results: Results) -> None:
    text = final_text(results)
    lines = text.splitlines()
    assert lines[0] == "Problem A (d = 10)"
    assert lines[2].startswith("* CGE")
    assert any(line.startswith("  First-order (reference)") for line in lines)
    assert max(map(len, lines)) <= 120
    assert lines[-1] == "Medians over 7 seeds. * lowest median; ~ its interval overlaps that one's."


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# Nothing of the page needs a script; this one, added for the test, says whether the page is wider than its window.
_PROBE = """<script>
const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
const flat = [...document.querySelectorAll("figure svg")].filter(s => s.getBoundingClientRect().height < 100).length;
const asked = performance.getEntriesByType("resource").filter(e => !e.name.startsWith("data:")).length;
const shown = i => i.complete && Math.abs(i.clientWidth / i.clientHeight - i.naturalWidth / i.naturalHeight) < 0.02;
const blank = [...document.images].filter(i => !shown(i)).length + Math.abs(document.images.length - 3);
document.body.insertAdjacentHTML("beforeend", `<p id="probe">wide=${wide} flat=${flat} blank=${blank} requests=${
  asked}</p>`);
</script></body>"""


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed; on Debian: apt-get install chromium")
@pytest.mark.parametrize("width", [1200, 500])
def test_a_real_browser_shows_it_without_requests_and_overflow(results: Results, width: int, tmp_path: Path) -> None:
    film, still = Drawing("film", "A film.", GIF), Drawing("still", "A still & wide picture.", png(1900, 900))
    drawings = {"Problem A": [film, still, Drawing("tall", "A tall picture.", png(700, 1400))]}
    page = render(results, draw_all(results, []), drawings)
    (tmp_path / "report.html").write_text(page.replace("</body>", _PROBE), encoding="utf-8")
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync --hide-scrollbars --virtual-time-budget=10000"
    )
    command = [str(CHROMIUM), *flags.split(), f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},2000"]
    found = subprocess.run(
        [*command, "--dump-dom", (tmp_path / "report.html").as_uri()], capture_output=True, text=True, check=True
    ).stdout
    assert re.findall(r'<p id="probe">(.*?)</p>', found) == ["wide=0 flat=0 blank=0 requests=0"]
    assert all(f'id="{section}"' in found for section in SECTIONS)
