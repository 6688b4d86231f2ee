from __future__ import annotations

import struct
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from problems.defense.classifiers import random_forest
from problems.defense.images import DefenseImages
from problems.defense.pictures import draw_panels, write_panels
from zotoolkit.errors import InvalidSetting, MissingExtra, ResultsUnwritable

pytest.importorskip("matplotlib")


def halved(x: Tensor) -> Tensor:
    return x / 2


def size(png: bytes) -> tuple[int, int]:
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def some(count: int = 3) -> DefenseImages:
    return DefenseImages.digits().subset(train=100, test=count)


def test_panels_grow_with_images_and_denoisers() -> None:
    images = some().test
    one, two = draw_panels(images, 0.5, {"half": halved}), draw_panels(images, 0.5, {"a": halved, "b": halved})
    assert size(one)[0] == size(two)[0]
    assert size(one)[1] < size(two)[1]
    assert size(draw_panels(images[:2], 0.5, {"half": halved}))[0] < size(one)[0]
    assert size(draw_panels(images, 0.5, {}))[1] < size(one)[1]
    assert one == draw_panels(images, 0.5, {"half": halved})
    assert one != draw_panels(images, 0.5, {"half": halved}, seed=1)
    colour = draw_panels(torch.rand(2, 3, 8, 8), 0.25, {"half": halved})
    assert size(colour)[1] == size(one)[1]


def test_answers_stand_under_the_images() -> None:
    images = some()
    forest = random_forest(images, trees=10).model
    plain = draw_panels(images.test, 0.5, {"half": halved}, classifier=forest)
    marked = draw_panels(images.test, 0.5, {"half": halved}, classifier=forest, labels=images.test_labels)
    named = draw_panels(images.test, 0.5, {"half": halved}, classifier=forest, names=list("abcdefghij"), title="A")
    assert len({plain, marked, named}) == 3


def test_a_denoiser_is_left_as_it_is() -> None:
    module = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.BatchNorm2d(1))
    before = [tensor.clone() for tensor in module.state_dict().values()]
    draw_panels(some().test, 0.5, {"net": module})
    assert module.training
    assert all(torch.equal(a, b) for a, b in zip(before, module.state_dict().values(), strict=True))


def test_files_are_written_whole(tmp_path: Path) -> None:
    images = some().test
    path = write_panels(tmp_path / "new" / "panels.png", images, 0.5, {"half": halved}, seed=2)
    assert path.read_bytes() == draw_panels(images, 0.5, {"half": halved}, seed=2)
    assert [entry.name for entry in path.parent.iterdir()] == ["panels.png"]
    with pytest.raises(ResultsUnwritable, match="cannot write"):
        write_panels(path / "panels.png", images, 0.5, {})


def test_matplotlib_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"pip install 'zotoolkit\[plot\]'"):
        draw_panels(some().test, 0.5, {})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"images": torch.zeros(2, 8, 8)}, r"images must have shape \(n, 1 or 3, H, W\)"),
        ({"images": torch.zeros(2, 2, 8, 8)}, "images must have shape"),
        ({"images": torch.zeros(0, 1, 8, 8)}, "images must have shape"),
        ({"sigma": 0.0}, "sigma must be a finite number above 0"),
        ({"labels": torch.zeros(2)}, r"labels must have shape \(3,\), one an image"),
        ({"denoisers": [halved]}, "denoisers must be a dict of functions by name"),
        ({"denoisers": {"flat": nn.Flatten()}}, "denoiser 'flat' must return images of shape"),
        ({"seed": -1}, "seed must be an integer in"),
    ],
)
def test_bad_input_is_said(changes: dict[str, Any], words: str) -> None:
    settings = {"images": some().test, "sigma": 0.5, "denoisers": {"half": halved}, **changes}
    with pytest.raises(InvalidSetting, match=words):
        draw_panels(**settings)
