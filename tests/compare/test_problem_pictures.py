"""Pictures of problems, from the command to the page."""

from __future__ import annotations

import base64
import dataclasses
import re
import shutil
from pathlib import Path

import pytest

from tests.compare import toy_problems
from zotoolkit.cli import main
from zotoolkit.compare import store
from zotoolkit.compare.drawings import PICTURES, read_drawings
from zotoolkit.compare.problem_pictures import draw_problems, stored_or_drawn
from zotoolkit.compare.results import load_results
from zotoolkit.errors import PicturesWarning

TOYS = str(Path(toy_problems.__file__))
RUN = ["run", "Toy/Drawn", "--import", TOYS, "--solver", "ZO/SGD-CGE-v0", "--budget", "40", "--no-progress"]


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two problems that draw, one of them in vain."""
    out = tmp_path_factory.mktemp("compared")
    problems = ["Drawn=Toy/Drawn", "Broken=Toy/Drawn:how=not"]
    command = ["compare", "--import", TOYS, "--no-progress", "--jobs", "1", "--budget", "60", "--seeds", "2"]
    command += ["--problems", *problems, "--solvers", "A & co=ZO/SGD-CGE-v0:lr=0.1", "ZO/SPSA-v0"]
    with pytest.warns(PicturesWarning, match="no pictures of Broken: ZeroDivisionError") as warned:
        assert main([*command, "--out", str(out)]) == 0
    assert len(warned) == 1
    return out


def test_points_of_all_solvers_and_seeds_are_drawn_once_a_problem(compared: Path) -> None:
    drawings = read_drawings(compared)
    assert drawings is not None
    assert list(drawings) == ["Drawn"]
    (distances, _) = drawings["Drawn"]
    assert (compared / PICTURES / "drawn" / "distances.png").read_bytes() == distances.content
    wanted = []
    for solver, folder in (("A & co", "a-co"), ("SPSA", "spsa")):
        for seed in (0, 1):
            x = store.read_point(compared / "cells" / "drawn" / folder / f"seed-{seed}")
            assert x is not None
            wanted.append(f"{solver + ' ' if not seed else ''}seed {seed}: {float((x - 1).norm()):.3f}")
    assert ", ".join(wanted).replace(", SPSA", "; SPSA") in distances.caption


def test_the_page_holds_them_with_words_and_sizes(compared: Path) -> None:
    page = (compared / "report.html").read_text()
    assert 'id="pictures"' in page
    found = re.findall(r'<img src="data:image/(\w+);base64,([^"]+)" alt="([^"]+)" width="(\d+)" height="(\d+)">', page)
    assert [(kind, int(wide), int(high)) for kind, _, _, wide, high in found] == [("png", 1400, 300), ("gif", 1, 1)]
    assert base64.b64decode(found[0][1]) == (compared / PICTURES / "drawn" / "distances.png").read_bytes()
    assert found[0][2].startswith("Distances &amp; more of A &amp; co seed 0")
    assert page.count("<img") == 2
    assert page.count('<figure class="wide">') == 1


def test_what_is_measured_at_the_end_is_in_the_table_and_no_curve(compared: Path) -> None:
    results = load_results(compared)
    drawn = store.select(results.table, problem="Drawn")
    assert not drawn["metric.test_sum"].isna().any()
    frame = store.select(results.frame, problem="Drawn", solver="SPSA", seed=0)
    assert frame["metric.test_sum"].notna().sum() == 1
    names = [path.name for path in (compared / "figures").iterdir()]
    assert "drawn-distance.png" in names
    assert "drawn-test-sum.png" not in names


def test_what_is_stored_is_shown_and_drawn_again_where_it_is_not_whole(compared: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(compared, tmp_path / "copy")
    index = copy / PICTURES / "pictures.json"
    index.write_text(index.read_text().replace("A film.", "Stored."))
    results = load_results(copy)
    results.header["problems"]["Broken"]["draws"] = False
    assert stored_or_drawn(results)["Drawn"][1].caption == "Stored."
    (copy / PICTURES / "drawn" / "film.gif").unlink()
    assert stored_or_drawn(results)["Drawn"][1].caption == "A film."
    assert read_drawings(copy) == read_drawings(compared)


def test_where_nothing_can_be_drawn_results_are_shown_all_the_same(compared: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(compared, tmp_path / "copy")
    shutil.rmtree(copy / PICTURES)
    for path in copy.glob("cells/broken/*/*/point.safetensors"):
        path.unlink()
    for path in copy.glob("cells/drawn/*/*/point.safetensors"):
        path.write_bytes(b"half a file")
    with pytest.warns(PicturesWarning, match="no pictures of Drawn: .* is damaged"):
        assert stored_or_drawn(load_results(copy)) == {}


def test_pictures_that_cannot_be_written_are_on_the_page_still(compared: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(compared, tmp_path / "copy")
    shutil.rmtree(copy / PICTURES)
    (copy / PICTURES).write_text("in the way")
    results = load_results(copy)
    results.header["problems"]["Broken"]["draws"] = False
    with pytest.warns(PicturesWarning, match="cannot write"):
        assert [picture.name for picture in draw_problems(results)["Drawn"]] == ["distances", "film"]


def test_a_problem_that_cannot_be_made_any_more(compared: Path) -> None:
    results = load_results(compared)
    results.header["problems"]["Broken"]["draws"] = False
    results = dataclasses.replace(results, comparison=dataclasses.replace(results.comparison, device="cuda:7"))
    with pytest.warns(PicturesWarning, match="no pictures of Drawn: .*runs on the CPU only"):
        assert draw_problems(results) == {}


def test_a_run_draws_its_own_point_and_names_the_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main([*RUN, "--out", str(out)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[-3:] == [
        f"picture {out / PICTURES / 'drawn' / 'distances.png'}",
        f"picture {out / PICTURES / 'drawn' / 'film.gif'}",
        f"saved in {out}",
    ]
    x = store.read_point(out)
    assert x is not None
    stored = read_drawings(out)
    assert stored is not None
    assert stored["Drawn"][0].caption == f"Distances & more of SGD-CGE seed 0: {float((x - 1).norm()):.3f}."
    assert store.read_result(out)["draws"] is True
    # Plot draws anew; a report shows what there is.
    shutil.rmtree(out / PICTURES)
    assert main(["plot", str(out)]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [line.removeprefix("picture ") for line in printed[-3:-1]]
    assert read_drawings(out) == stored
    index = out / PICTURES / "pictures.json"
    index.write_text(index.read_text().replace("A film.", "Stored."))
    assert main(["report", str(out)]) == 0
    assert "<figcaption>Stored.</figcaption>" in (out / "report.html").read_text()


def test_a_run_whose_pictures_fail_stands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.warns(PicturesWarning, match="nothing to divide by"):
        assert main([*RUN, "--set", "how=not", "--out", str(tmp_path / "out")]) == 0
    assert "picture " not in capsys.readouterr().out
    assert store.is_finished(tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / PICTURES).write_text("in the way")
    with pytest.warns(PicturesWarning, match="cannot write"):
        assert main([*RUN, "--out", str(tmp_path / "full")]) == 0
    assert store.is_finished(tmp_path / "full")
