"""`zotoolkit certify`: what it prints and writes, how it goes on, what it complains about."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from tests.cli import models_to_certify
from zotoolkit.certification import certify, load_certification
from zotoolkit.cli import main

MODELS = str(Path(models_to_certify.__file__))
X = np.linspace(-0.5, 0.5, 12, dtype=np.float32)[:, None].repeat(4, axis=1)
Y = (X.sum(1) > 0).astype(np.int64)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    np.savez(tmp_path / "test.npz", x=X, y=Y)
    np.save(tmp_path / "x.npy", X.astype(np.float64))
    np.save(tmp_path / "y.npy", Y)
    return tmp_path


def command(data: Path, model: str = "classify", /, out: str = "out", **options: Any) -> list[str]:
    given = {"images": data / "test.npz", "sigma": 0.5, "n": 300, "out": data / out} | options
    words = ["certify", f"{MODELS}:{model}", "--no-progress"]
    for key, value in given.items():
        values = value if isinstance(value, list) else [value]
        words += [f"--{key.replace('_', '-')}", *map(str, values)] if value is not True else [f"--{key}"]
    return words


def complaint(capsys: pytest.CaptureFixture[str], arguments: list[str], code: int) -> str:
    capsys.readouterr()
    assert main(arguments) == code
    printed = capsys.readouterr()
    assert len(printed.err.splitlines()) == 1, printed.err
    assert printed.err.startswith("zotoolkit: error: ")
    return printed.err


def test_table_and_files(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(data, radii=[0.1, 0.5], seed=3)) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    lines = printed.out.splitlines()
    assert lines[0].split()[:6] == ["certified", "accuracy", "at", "radius", "0.1", "0.5"]
    assert lines[1].startswith("this classifier")
    assert lines[2].startswith("always class 0")
    assert lines[-1] == f"saved in {data / 'out'}"
    found = load_certification(data / "out")
    direct = certify(models_to_certify.classify, torch.from_numpy(X), Y, sigma=0.5, n=300, seed=3)
    assert [image.as_dict() for image in found.images] == [image.as_dict() for image in direct.images]
    names = {"certification.json", "counts.jsonl", "curve.png", "images.csv", "summary.json", "table.csv", "table.txt"}
    assert {path.name for path in (data / "out").iterdir()} == names
    assert pd.read_csv(data / "out" / "images.csv")["radius"].tolist() == direct.radii.tolist()
    summary = json.loads((data / "out" / "summary.json").read_text())
    assert [row["radius"] for row in summary["certified_accuracy"]] == [0.1, 0.5]


@pytest.mark.parametrize("name", ["classify", "Service", "make_network"])
def test_all_kinds_of_classifiers_count_the_same(name: str, data: Path) -> None:
    assert main(command(data, name)) == 0
    direct = certify(models_to_certify.classify, torch.from_numpy(X), Y, sigma=0.5, n=300)
    found = load_certification(data / "out")
    assert [image.as_dict() for image in found.images] == [image.as_dict() for image in direct.images]


def test_a_forest_beside_another(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(data, out="first")) == 0
    capsys.readouterr()
    assert main(command(data, "make_forest", against=f"linear={data / 'first'}", name="forest")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["linear", "forest", "always"]
    assert set(pd.read_csv(data / "out" / "table.csv")["name"]) == {"linear", "forest", "always class 0"}


def test_module_names_labels_and_fewer_images(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data)
    (data / "my_models.py").write_text(Path(MODELS).read_text())
    options = {"images": "x.npy", "labels": "y.npy", "images_at_most": 3}
    words = command(data, **options)
    words[1] = "my_models:classify"
    assert main(words) == 0
    assert "3 images; in brackets" in capsys.readouterr().out
    assert main(command(data, out="nolabels", images=data / "x.npy")) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("<Certification: 12 images")
    assert "no true classes; give --labels" in printed.err
    assert not (data / "nolabels" / "table.csv").exists()


def test_the_same_command_asks_nothing_twice(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKS", str(data / "marks"))
    assert main(command(data, "slow")) == 0
    before = (data / "marks").stat().st_size
    files = {path.name: path.read_bytes() for path in (data / "out").iterdir()}
    assert main(command(data, "slow")) == 0
    assert (data / "marks").stat().st_size == before + 1  # the probe
    assert {path.name: path.read_bytes() for path in (data / "out").iterdir()} == files


@pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them")
def test_ctrl_c_then_the_same_command(data: Path) -> None:
    words = command(data, "slow", n=3000, chunk=64)
    process = subprocess.Popen(
        [sys.executable, "-m", "zotoolkit.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "MARKS": str(data / "marks")},
    )
    kept = data / "out" / "counts.jsonl"
    try:
        while process.poll() is None and not (kept.exists() and kept.stat().st_size):
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=400)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert err.splitlines()[-1].endswith(f"finished images are kept in {data / 'out'}. The same command goes on.")
    assert "Traceback" not in err
    assert 0 < len(load_certification(data / "out")) < 12
    asked = command(data, "classify", n=3000)
    assert main(asked) == 0
    direct = certify(models_to_certify.classify, torch.from_numpy(X), Y, sigma=0.5, n=3000)
    assert load_certification(data / "out").radii.tolist() == direct.radii.tolist()


def test_a_radius_out_of_reach_is_one_warning(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.warns(UserWarning, match="radius 3 with n=300") as caught:
        assert main(command(data, radii=[0.1, 3])) == 0
    assert len(caught) == 1
    assert " 3 " in capsys.readouterr().out.splitlines()[0]


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ({"sigma": 0}, 2, "sigma must be a finite number above 0, got 0.0"),
        ({"alpha": 1}, 2, "alpha must be a number in (0, 1), got 1.0"),
        ({"n": 50}, 2, "n must be at least n0"),
        ({"n0": 0}, 2, "n0 must be an integer of at least 1, got 0"),
        ({"device": "tpu:0"}, 2, "device"),
        ({"images_at_most": 0}, 2, "images-at-most must be an integer of at least 1"),
        ({"images": "nowhere.npy"}, 2, "there is no file nowhere.npy"),
        ({"images": MODELS}, 2, "is no .npy or .npz file"),
        ({"labels": "nowhere.npy"}, 2, "there is no file nowhere.npy"),
        ({"against": "linear"}, 2, "--against reads NAME=DIR"),
        ({"against": "linear=nowhere"}, 2, "nowhere holds no certification"),
        ({"model": "broken"}, 1, "ConnectionError: the server is gone"),
        ({"model": "floats"}, 1, "labels must be integers"),
        ({"model": "clasify"}, 2, "has no attribute 'clasify'. Did you mean 'classify'?"),
        ({"model": "numbers"}, 2, "is no classifier"),
        ({"model": "Weighted"}, 2, "is a class that needs arguments; name an instance"),
        ({"model": "failing_factory"}, 2, "FileNotFoundError: weights.safetensors"),
    ],
)
def test_complaints(
    options: dict[str, Any], code: int, words: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = dict(options)
    model = given.pop("model", "classify")
    assert words in complaint(capsys, command(data, model, **given), code)


@pytest.mark.parametrize(
    ("classifier", "words"),
    [
        ("models", "named module:attribute or file.py:attribute, got 'models'"),
        (":classify", "named module:attribute"),
        ("no_such_module:classify", "cannot import no_such_module"),
        ("nowhere.py:classify", "cannot import"),
    ],
)
def test_classifiers_that_are_not_there(
    classifier: str, words: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = command(data)
    arguments[1] = classifier
    assert words in complaint(capsys, arguments, 2)


def test_images_that_cannot_be_used(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(data / "bytes.npy", np.zeros((3, 4), dtype=np.uint8))
    assert "dtype uint8; save them as floats" in complaint(capsys, command(data, images=data / "bytes.npy"), 2)
    np.savez(data / "other.npz", images=X)
    assert "must hold the images as x, but holds images" in complaint(
        capsys, command(data, images=data / "other.npz"), 2
    )
    np.save(data / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert "no .npy or .npz file" in complaint(capsys, command(data, images=data / "objects.npy"), 2)
    (data / "torn.npz").write_bytes((data / "test.npz").read_bytes()[:200])
    assert "torn.npz" in complaint(capsys, command(data, images=data / "torn.npz"), 2)
    assert "one true class for each of the 12 images" in complaint(
        capsys, command(data, images=data / "x.npy", labels=data / "x.npy"), 2
    )
    assert "must be an .npy file of true classes" in complaint(capsys, command(data, labels=data / "test.npz"), 2)


def test_other_settings_in_the_same_folder(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(data)) == 0
    assert "sigma=0.5, and sigma=0.25 is asked for" in complaint(capsys, command(data, sigma=0.25), 2)
    assert "another classifier" in complaint(capsys, command(data, "make_forest"), 2)
