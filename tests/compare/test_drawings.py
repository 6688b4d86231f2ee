"""What problems draw, kept in files: written, read back, and never in the way of results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import zotoolkit
from tests.compare.toy_problems import GIF, Drawn, Quadratic, png
from zotoolkit.compare.drawings import PICTURES, drawing_files, drawn, draws, read_drawings, write_drawings
from zotoolkit.errors import PicturesWarning, ResultsUnwritable
from zotoolkit.figures import Drawing

POINTS = {"CGE": {0: torch.ones(3, dtype=torch.float64), 4: torch.zeros(3, dtype=torch.float64)}}
A, B = Drawing("a", "First & foremost.", png(5, 4)), Drawing("b", "Second.", GIF)


def test_what_draws_is_known_under_wrappers_too() -> None:
    assert draws(Drawn())
    assert draws(zotoolkit.wrappers.BudgetLimit(Drawn(), 10))
    assert not draws(Quadratic())
    assert Quadratic().pictures(POINTS) == ()


def test_wrappers_hand_points_on_in_the_coordinates_inside() -> None:
    for outer in (Drawn(), zotoolkit.wrappers.BudgetLimit(Drawn(), 10)):
        (distances, film) = drawn(outer, "Quad", POINTS)
        assert distances.caption == "Distances & more of CGE seed 0: 0.000, seed 4: 1.732."
        assert film.ending == "gif"
    # The box [-10, 10] seen as [0, 1]: 0.55 is 1.
    middle = {"CGE": {0: torch.full((3,), 0.55, dtype=torch.float64)}}
    assert "seed 0: 0.000." in drawn(zotoolkit.wrappers.RescaleSpace(Drawn(), 0.0, 1.0), "Quad", middle)[0].caption


class _Odd(Quadratic):
    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    def pictures(self, points: Any) -> Any:
        return self.answer


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (Drawn("not"), "no pictures of Quad: ZeroDivisionError: nothing to divide by"),
        (Drawn("badly"), "no pictures of Quad: pictures must have names of their own"),
        (_Odd(None), "no pictures of Quad: pictures must return a list of"),
        (_Odd([png()]), "no pictures of Quad: pictures must return a list of"),
        (_Odd({"a": png()}), "no pictures of Quad: pictures must return a list of"),
    ],
)
def test_a_failure_while_drawing_is_a_warning(problem: Quadratic, said: str) -> None:
    with pytest.warns(PicturesWarning, match=said):
        assert drawn(problem, "Quad", POINTS) == []


def test_they_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    given = {"Quad (noise=0.1)": [A, B], "Other": [B]}
    paths = write_drawings(given, tmp_path)
    names = ("quad-noise-0.1/a.png", "quad-noise-0.1/b.gif", "other/b.gif")
    assert paths == [tmp_path / PICTURES / name for name in names]
    assert read_drawings(tmp_path) == given
    assert drawing_files(tmp_path) == paths
    # The next ones take their place, and none at all too.
    write_drawings({"Other": [A]}, tmp_path)
    assert read_drawings(tmp_path) == {"Other": [A]}
    write_drawings({}, tmp_path)
    assert read_drawings(tmp_path) == {}


def test_where_there_are_none_there_is_no_folder(tmp_path: Path) -> None:
    assert write_drawings({"Quad": []}, tmp_path) == []
    assert list(tmp_path.iterdir()) == []
    assert read_drawings(tmp_path) is None
    assert drawing_files(tmp_path) == []


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../../a"},
        {"name": "c"},
        {"name": 3},
        {"ending": "svg"},
        {"caption": ""},
        {"problem": None},
    ],
)
def test_an_index_that_names_what_is_not_there_counts_as_none(change: dict[str, Any], tmp_path: Path) -> None:
    write_drawings({"Quad": [A]}, tmp_path)
    (tmp_path / "a.png").write_bytes(png())
    index = tmp_path / PICTURES / "pictures.json"
    content = json.loads(index.read_text())
    content["pictures"][0] |= change
    index.write_text(json.dumps(content))
    assert read_drawings(tmp_path) is None
    index.write_text("{")
    assert read_drawings(tmp_path) is None


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / PICTURES).write_text("in the way")
    with pytest.raises(ResultsUnwritable, match="cannot write"):
        write_drawings({"Quad": [A]}, tmp_path)
