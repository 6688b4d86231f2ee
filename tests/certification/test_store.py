"""Counts on disk: gone on with after any end, and never mixed with counts of something else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.certification import killed_certification
from tests.certification.classifiers import Counting, half_space
from zotoolkit.certification import Certification, certify, load_certification
from zotoolkit.errors import (
    CheckpointDamaged,
    CheckpointMismatch,
    CheckpointMissing,
    ClassifierFailed,
    ResultsUnwritable,
)

X = torch.linspace(-1, 1, 6)[:, None].repeat(1, 2)
Y = [0, 0, 0, 1, 1, 1]


def run(folder: Path | None, predict: Any = half_space, **changed: Any) -> Certification:
    about: dict[str, Any] = {"x": X, "y": Y, "sigma": 0.5, "n": 300, "store": folder}
    return certify(predict, **(about | changed))


def counts(certification: Certification) -> list[dict[str, Any]]:
    return [image.as_dict() for image in certification.images]


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_after_sigkill_the_counts_are_the_same(tmp_path: Path) -> None:
    script = Path(killed_certification.__file__)
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "run")], capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr
    words = done.stdout.split()
    assert words[:2] == ["killed", "6"], done.stdout
    assert words[2:] == ["in", "the", "middle", "True", "equal", "True"], done.stdout


def test_what_is_finished_is_not_asked_again(tmp_path: Path) -> None:
    whole = run(tmp_path)
    asked = Counting()
    again = run(tmp_path, asked)
    assert asked.images == 0
    assert counts(again) == counts(whole) == counts(run(None))
    loaded = load_certification(tmp_path)
    assert counts(loaded) == counts(whole)
    assert loaded.settings == whole.settings
    assert loaded.radii.tolist() == whole.radii.tolist()
    assert loaded.certified_accuracy([0.1, 0.3]).tolist() == whole.certified_accuracy([0.1, 0.3]).tolist()


def test_more_images_later(tmp_path: Path) -> None:
    run(tmp_path, x=X[:2], y=Y[:2])
    asked = Counting()
    assert counts(run(tmp_path, asked, early_abstention=True)) == counts(run(None))
    assert asked.images <= 4 * 400


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_torn_last_line_is_asked_again(tmp_path: Path, cut: int) -> None:
    whole = counts(run(tmp_path))
    file = tmp_path / "counts.jsonl"
    file.write_bytes(file.read_bytes()[:-cut])
    assert len(load_certification(tmp_path)) == 5
    assert counts(run(tmp_path)) == whole
    assert [json.loads(line)["index"] for line in file.read_text().splitlines()] == [0, 1, 2, 3, 4, 5]


def test_true_classes_may_come_later_and_change(tmp_path: Path) -> None:
    run(tmp_path, y=None)
    assert load_certification(tmp_path).y is None
    asked = Counting()
    assert run(tmp_path, asked).certified_accuracy(0.1) > 0
    assert load_certification(tmp_path).y is not None
    assert load_certification(tmp_path).correct.tolist() == run(None).correct.tolist()
    assert asked.images == 0


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"sigma": 0.4}, "sigma=0.5, and sigma=0.4 is asked for; choose another folder"),
        ({"n0": 50}, "n0=100, and n0=50"),
        ({"n": 400}, "n=300, and n=400"),
        ({"alpha": 0.01}, "alpha=0.001, and alpha=0.01"),
        ({"seed": 1}, "seed=0, and seed=1"),
        ({"early_abstention": False}, "early_abstention=True"),
        ({"futility": 0.1}, "futility=None, and futility=0.1"),
        ({"classes": 2}, "classes=None, and classes=2"),
        ({"x": X + 0.5}, "counts of another image under key 0"),
        ({"x": X.double()}, "counts of another image under key 0"),
        ({"x": X.flip(0)}, "counts of another image under key 0"),
        ({"indices": [1, 0, 2, 3, 4, 5]}, "counts of another image under key 1"),
    ],
)
def test_other_settings_or_images_are_refused(tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    run(tmp_path)
    asked = Counting()
    with pytest.raises(CheckpointMismatch, match=words):
        run(tmp_path, asked, **changed)
    assert asked.images == 0


def test_another_classifier_is_refused_by_its_answers_to_the_probe(tmp_path: Path) -> None:
    run(tmp_path, probe=X)
    assert counts(run(tmp_path, probe=X)) == counts(run(None))
    with pytest.raises(CheckpointMismatch, match=r"another classifier: 3 of 6 probe inputs .* input 3"):
        run(tmp_path, lambda images: torch.zeros(len(images), dtype=torch.int64), probe=X)
    with pytest.raises(CheckpointMismatch, match="probed with other inputs"):
        run(tmp_path, probe=X[:2])
    # A probe that fails now says nothing about the classifier.
    run(tmp_path, lambda images: torch.full((len(images),), -1), probe=X)


def test_images_without_an_answer_are_not_kept_if_the_classifier_is_dead(tmp_path: Path) -> None:
    def dying(images: Tensor) -> Tensor:
        dying.left -= 1  # type: ignore[attr-defined]
        if dying.left < 0:  # type: ignore[attr-defined]
            raise ConnectionError("gone")
        return half_space(images)

    dying.left = 8  # type: ignore[attr-defined]  # two images of four calls each
    with pytest.raises(ClassifierFailed, match="ConnectionError: gone"):
        run(tmp_path, dying)
    assert len(load_certification(tmp_path)) == 2
    assert counts(run(tmp_path)) == counts(run(None))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda line: b"{", "in line 2"),
        (
            lambda line: line.replace(b'"selection_failed":0', b'"selection_failed":1'),
            "101 selection samples .* n0=100",
        ),
        (lambda line: line.replace(b'"estimation_failed":0', b'"estimation_failed":7'), "307 estimation samples"),
        (lambda line: line.replace(b'"index"', b'"indx"'), "KeyError: 'index'"),
        (lambda line: line.replace(b'"index":1', b'"index":0'), "two different counts of image 0"),
        (lambda line: line.replace(b'"index":1', b'"index":-1'), "-1 is no count"),
        (lambda line: b"[1, 2]", "TypeError"),
        (lambda line: b"\xff\xfe", "in line 2"),
    ],
)
def test_damaged_counts_are_refused(tmp_path: Path, damage: Any, words: str) -> None:
    run(tmp_path)
    file = tmp_path / "counts.jsonl"
    lines = file.read_bytes().splitlines()
    lines[1] = damage(lines[1])
    file.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(CheckpointDamaged, match=words):
        run(tmp_path)
    with pytest.raises(CheckpointDamaged, match=words):
        load_certification(tmp_path)


def test_a_certificate_is_never_read_from_fewer_samples(tmp_path: Path) -> None:
    run(tmp_path, early_abstention=False)
    file = tmp_path / "counts.jsonl"
    line = json.loads(file.read_text().splitlines()[0])
    line["estimation"] = {label: count - 1 for label, count in line["estimation"].items()}
    file.write_text(json.dumps(line) + "\n")
    with pytest.raises(CheckpointDamaged, match="estimation samples instead of n=300"):
        load_certification(tmp_path)


def test_headers_that_cannot_be_read(tmp_path: Path) -> None:
    run(tmp_path)
    header = tmp_path / "certification.json"
    content = json.loads(header.read_text())
    header.write_text(json.dumps({**content, "sigma": -1}))
    with pytest.raises(CheckpointDamaged, match="sigma must be a finite number above 0"):
        load_certification(tmp_path)
    header.write_text(json.dumps({name: value for name, value in content.items() if name != "n0"}))
    with pytest.raises(CheckpointDamaged, match="n0"):
        load_certification(tmp_path)
    header.write_text("{")
    with pytest.raises(CheckpointDamaged):
        run(tmp_path)
    header.unlink()
    with pytest.raises(CheckpointDamaged, match=r"has counts.jsonl but no certification.json"):
        run(tmp_path)


def test_nothing_to_load(tmp_path: Path) -> None:
    with pytest.raises(CheckpointMissing, match="holds no certification"):
        load_certification(tmp_path)
    run(tmp_path)
    (tmp_path / "counts.jsonl").write_bytes(b"")
    with pytest.raises(CheckpointMissing, match="no finished image"):
        load_certification(tmp_path)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsUnwritable):
        run(tmp_path / "file" / "run")
    run(tmp_path / "run")
    (tmp_path / "run" / "counts.jsonl").unlink()
    (tmp_path / "run" / "counts.jsonl").mkdir()
    with pytest.raises((CheckpointDamaged, ResultsUnwritable)):
        run(tmp_path / "run")
