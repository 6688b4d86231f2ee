"""Figures: that they are there, whole, and the same every time."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from tests.compare.tables import write_comparison
from zotoolkit.compare.plots import draw_all, write_pictures
from zotoolkit.compare.results import Results, load_results
from zotoolkit.errors import InvalidSetting, MissingExtra
from zotoolkit.figures.canvas import Picture
from zotoolkit.figures.style import FAINT, INK


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("made-up")
    write_comparison(folder)
    return load_results(folder)


@pytest.fixture(scope="module")
def pictures(results: Results) -> list[Picture]:
    return draw_all(results)


def test_every_problem_axis_and_metric_has_its_figure(pictures: list[Picture]) -> None:
    assert [picture.name for picture in pictures] == [
        "problem-a-queries",
        "problem-a-seconds",
        "problem-b-queries",
        "problem-b-seconds",
        "problem-b-test-accuracy",
        "data-profile-0.1",
        "performance-profile-0.1",
        "data-profile-0.001",
        "performance-profile-0.001",
    ]


def test_files_are_of_their_kind_and_not_empty(pictures: list[Picture], tmp_path: Path) -> None:
    assert len(write_pictures(pictures, tmp_path)) == len(pictures)
    for picture in pictures:
        with Image.open(io.BytesIO(picture.files["png"])) as image:
            assert image.size == (1280, 780)
            drawn = (np.asarray(image.convert("L")) < 250).mean()
            assert 0.02 < drawn < 0.5
        assert (tmp_path / "figures" / f"{picture.name}.png").read_bytes() == picture.files["png"]


def test_inline_figures_are_xml_that_takes_the_pages_colours(pictures: list[Picture]) -> None:
    identifiers: set[str] = set()
    for picture in pictures:
        root = ElementTree.fromstring(picture.inline)
        assert root.get("role") == "img"
        assert picture.caption in str(root.get("aria-label"))
        assert "height" not in root.attrib
        for colour in (INK, FAINT, "#000000"):
            assert colour not in picture.inline
        assert "var(--ink)" in picture.inline
        found = [str(element.get("id")) for element in root.iter() if "id" in element.attrib]
        assert len(found) == len(set(found) - identifiers)
        identifiers |= set(found)


def test_the_same_results_give_the_same_bytes_and_change_nothing_global(tmp_path: Path) -> None:
    import matplotlib

    write_comparison(tmp_path, problems=1, seeds=3)
    before = dict(matplotlib.rcParams)
    first, second = (draw_all(load_results(tmp_path), ["png", "pdf", "svg"]) for _ in range(2))
    assert first == second
    assert len(write_pictures(first, tmp_path)) == 3 * len(first)
    for picture in first:
        assert picture.files["pdf"].startswith(b"%PDF")
        assert b"<svg" in picture.files["svg"]
    assert dict(matplotlib.rcParams) == before


def test_an_unknown_format_is_refused(results: Results) -> None:
    with pytest.raises(InvalidSetting, match="format must be one of"):
        draw_all(results, ["gif"])


def test_without_matplotlib_the_extra_is_named(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"pip install 'zotoolkit\[plot\]'"):
        draw_all(results)
