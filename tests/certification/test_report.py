"""Tables, rows, summaries and the curve."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.certification.classifiers import half_space
from zotoolkit.certification import Certification, certify
from zotoolkit.certification.output import write_certification, write_comparison
from zotoolkit.certification.plots import draw_curves
from zotoolkit.certification.report import (
    IMAGE_COLUMNS,
    ConstantClassifier,
    csv_rows,
    csv_text,
    default_radii,
    image_rows,
    summary,
    table,
)
from zotoolkit.errors import InvalidLabels, InvalidSetting, MissingExtra, RadiusWarning


@pytest.fixture(scope="module")
def both() -> dict[str, Certification]:
    x = torch.linspace(-1, 1, 20)[:, None]
    y = (x[:, 0] > 0).long()
    y[0] = 1
    ours = certify(half_space, x, y, sigma=0.5, n=1000)
    theirs = certify(lambda images: half_space(images + 0.3), x, y, sigma=0.5, n=1000)
    return {"undefended": theirs, "ours": ours}


def test_the_table_has_all_and_the_constant_classifier(both: dict[str, Certification]) -> None:
    lines = table(both, radii=[0.0, 0.25]).splitlines()
    assert lines[0].split() == [
        "certified",
        "accuracy",
        "at",
        "radius",
        "0",
        "0.25",
        "mean",
        "radius",
        "abstained",
        "clean",
    ]
    assert [line.split("  ")[0] for line in lines[1:4]] == ["undefended", "ours", "always class 1"]
    share = both["ours"].certified_accuracy(0.25)
    low, high = both["ours"].accuracy_bounds(0.25)
    assert f"{share:.3f} [{low:.3f}, {high:.3f}]" in lines[2]
    assert lines[3].count("0.550 [") == 2
    assert lines[-1].startswith("20 images; in brackets the exact 95 % interval")
    assert lines[-1].endswith("All at sigma=0.5, n=1,000, alpha=0.001.")


def test_rows_hold_unrounded_numbers(both: dict[str, Certification]) -> None:
    rows = csv_rows(both, radii=[0.1, 0.3])
    assert [(row["name"], row["radius"]) for row in rows] == [
        (name, radius) for name in ("undefended", "ours", "always class 1") for radius in (0.1, 0.3)
    ]
    assert rows[3]["certified_accuracy"] == float(both["ours"].certified_accuracy(0.3))
    assert rows[3]["average_certified_radius"] == both["ours"].average_certified_radius
    read = list(csv.DictReader(io.StringIO(csv_text(rows))))
    assert float(read[3]["low"]) == rows[3]["low"]
    assert read[4]["sigma"] == ""


def test_a_row_an_image(both: dict[str, Certification]) -> None:
    rows = image_rows(both["ours"])
    assert tuple(rows[0]) == IMAGE_COLUMNS
    assert [row["radius"] for row in rows] == both["ours"].radii.tolist()
    assert rows[0]["label"] == 1
    assert image_rows(both["ours"].with_labels(None))[0]["label"] is None


def test_the_summary(both: dict[str, Certification]) -> None:
    found = summary(both["ours"], radii=[0.25])
    assert json.loads(json.dumps(found)) == found
    assert found["certified_accuracy"][0]["share"] == float(both["ours"].certified_accuracy(0.25))
    assert found["constant_classifier"] == {"label": 1, "accuracy": 0.55}
    assert found["queries"] == both["ours"].queries
    assert "clean_accuracy" not in summary(both["ours"].with_labels(None))


def test_the_constant_classifier_takes_the_most_frequent() -> None:
    assert ConstantClassifier.of(np.array([2, 0, 2])).accuracy == pytest.approx(2 / 3)
    assert ConstantClassifier.of([1, 0]).label == 0


@pytest.mark.parametrize("reach", [0.01, 0.79, 1.6, 3.0, 19.0, 255.0])
def test_default_radii_are_few_and_within_reach(reach: float) -> None:
    radii = default_radii(reach)
    assert 3 <= len(radii) <= 8
    assert radii[0] == 0
    assert radii[-1] <= reach


def test_nothing_within_reach() -> None:
    assert default_radii(0.0) == [0.0]


def test_a_report_needs_true_classes_of_the_same_images(both: dict[str, Certification]) -> None:
    with pytest.raises(InvalidLabels, match="'other' has none; certify with y"):
        table({**both, "other": both["ours"].with_labels(None)})
    with pytest.raises(InvalidLabels, match="'other' has other ones"):
        table({**both, "other": both["ours"].with_labels([0] * 20)})
    with pytest.raises(InvalidSetting, match="at least one certification"):
        table({})
    with pytest.raises(InvalidSetting, match="at least one certification"):
        draw_curves({})


def test_the_curve_is_drawn_the_same_every_time(both: dict[str, Certification]) -> None:
    picture = draw_curves(both, formats=("png", "svg"))
    assert picture.files["png"] == draw_curves(both).files["png"]
    with Image.open(io.BytesIO(picture.files["png"])) as image:
        assert image.size == (1280, 780)
        assert 0.02 < (np.asarray(image.convert("L")) < 250).mean() < 0.5
    assert b"<svg" in picture.files["svg"]
    with pytest.raises(InvalidSetting, match="format must be one of"):
        draw_curves(both, formats=("gif",))


def test_a_curve_where_nothing_is_certified() -> None:
    with pytest.warns(RadiusWarning):
        found = certify(half_space, torch.ones(3, 1), [1, 1, 1], sigma=0.5, n0=5, n=5)
    with pytest.warns(RadiusWarning):
        assert draw_curves({"nothing": found}).files["png"]


def test_files(both: dict[str, Certification], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = write_certification(tmp_path, both["ours"]) + write_comparison(tmp_path, both)
    names = ["images.csv", "summary.json", "table.txt", "table.csv", "curve.png"]
    assert [path.name for path in paths] == names
    assert all(path.stat().st_size > 100 for path in paths)
    (tmp_path / "table.csv").unlink()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"zotoolkit\[plot\]"):
        write_comparison(tmp_path, both)
    assert (tmp_path / "table.csv").exists()
