from __future__ import annotations

import logging
import multiprocessing
import os
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from typing_extensions import override

from problems.dnn import CifarResNet
from zotoolkit.artifacts import State, architecture, fingerprint, kept


class Making:
    """Makes a state and counts how often."""

    def __init__(self, value: float = 1.0) -> None:
        self.value, self.times = value, 0

    def __call__(self) -> State:
        self.times += 1
        return {"weight": torch.full((3,), self.value), "loss": 0.25, "layers": [{"bias": torch.zeros(0)}]}


class Halved(nn.Module):
    @override
    def forward(self, x: Tensor) -> Tensor:
        return x / 2


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZOTOOLKIT_CACHE", str(tmp_path))
    return tmp_path / "part"


def test_what_was_made_is_kept(folder: Path) -> None:
    make = Making()
    first, found = kept("part", "net", {"seed": 0, "sizes": [1, 2]}, make)
    assert not found
    again, found = kept("part", "net", {"seed": 0, "sizes": [1, 2]}, make)
    assert found
    assert make.times == 1
    assert torch.equal(first["weight"], again["weight"])
    assert (again["loss"], again["layers"][0]["bias"].shape) == (0.25, (0,))
    (entry,) = folder.iterdir()  # and nothing half done beside it
    assert entry.name.startswith("net-")
    assert [path.name for path in entry.iterdir()] == ["checkpoint.safetensors"]


def test_another_key_or_name_is_another_entry(folder: Path) -> None:
    make = Making()
    for name, key in (("net", {"seed": 0}), ("net", {"seed": 1}), ("other", {"seed": 0})):
        assert not kept("part", name, key, make)[1]
    assert len(list(folder.iterdir())) == 3


def test_no_key_keeps_nothing(folder: Path) -> None:
    make = Making()
    assert not kept("part", "net", None, make)[1]
    assert not kept("part", "net", None, make)[1]
    assert make.times == 2
    assert not folder.exists()


@pytest.mark.parametrize("damage", ["cut", "bits", "empty", "text", "other key"])
def test_a_corrupt_entry_is_made_again_with_one_line(
    folder: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    make = Making()
    kept("part", "net", {"seed": 0}, make)
    (path,) = folder.glob("net-*/checkpoint.safetensors")
    whole = path.read_bytes()
    if damage == "other key":
        kept("part", "net", {"seed": 1}, make)
        (other,) = set(folder.glob("net-*/checkpoint.safetensors")) - {path}
        path.write_bytes(other.read_bytes())
        make.times = 1
    else:
        flipped = bytes([*whole[:-1], whole[-1] ^ 1])
        path.write_bytes({"cut": whole[: len(whole) // 2], "bits": flipped, "empty": b"", "text": b"{}"}[damage])
    with caplog.at_level(logging.WARNING, "zotoolkit"):
        state, found = kept("part", "net", {"seed": 0}, make)
    assert not found
    assert make.times == 2
    assert len(caplog.records) == 1
    assert "it is made again" in caplog.text
    assert torch.equal(state["weight"], torch.ones(3))
    assert kept("part", "net", {"seed": 0}, make)[1]


def test_a_folder_that_cannot_be_written_to_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("ZOTOOLKIT_CACHE", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING, "zotoolkit"):
        state, found = kept("part", "net", {"seed": 0}, Making())
    assert not found
    assert torch.equal(state["weight"], torch.ones(3))
    assert "the net is not cached" in caplog.text


def test_what_a_killed_process_left_is_removed_a_day_later(folder: Path) -> None:
    kept("part", "net", {"seed": 0}, Making())
    for name, age in (("net-0.1.part", 25 * 3600), ("net-0.2.part", 3600)):
        (folder / name).mkdir()
        (folder / name / "checkpoint.safetensors.part").write_bytes(b"half")
        os.utime(folder / name, (time.time() - age,) * 2)
    kept("part", "net", {"seed": 1}, Making())
    assert [path.name for path in folder.glob("*.part")] == ["net-0.2.part"]


def _keep_one(value: float) -> float:
    return float(kept("part", "net", {"seed": 0}, Making(value))[0]["weight"][0])


def test_processes_that_make_the_same_entry_do_not_disturb_each_other(folder: Path) -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        pool.map(_keep_one, [float(value) for value in range(12)])
    (entry,) = folder.iterdir()
    state, found = kept("part", "net", {"seed": 0}, Making(-1.0))
    assert found
    assert len(set(state["weight"].tolist())) == 1
    assert [path.name for path in entry.iterdir()] == ["checkpoint.safetensors"]


def test_architectures_are_told_apart() -> None:
    def told(module: nn.Module) -> State:
        found = architecture(module)
        assert found is not None
        return found

    conv = nn.Conv2d(1, 2, 3)
    assert told(conv) == told(nn.Conv2d(1, 2, 3))
    assert told(conv) != told(nn.Conv2d(1, 2, 3, padding=1))
    assert told(nn.Sequential(nn.Flatten(), nn.ReLU())) != told(nn.Sequential(nn.Flatten(), nn.Tanh()))
    assert told(Halved()) != told(nn.Identity())
    assert told(CifarResNet(8))["code"] != told(conv)["code"]
    typed: dict[str, type[nn.Module]] = {}
    interpreter = compile("from torch import nn\nclass Typed(nn.Module):\n    pass\n", "<stdin>", "exec")
    exec(interpreter, {"__name__": "nowhere"}, typed)  # type: ignore[arg-type]
    assert architecture(typed["Typed"]()) is None


def test_fingerprints_see_names_shapes_types_and_bits() -> None:
    plain = {"a": torch.zeros(2), "b": torch.ones(1)}
    assert fingerprint(plain) == fingerprint(dict(reversed(plain.items())))
    others = (
        {"a": torch.zeros(2), "c": torch.ones(1)},
        {"a": torch.zeros(2, 1), "b": torch.ones(1)},
        {"a": torch.zeros(2, dtype=torch.float64), "b": torch.ones(1)},
        {"a": torch.tensor([0.0, -0.0]), "b": torch.ones(1)},
    )
    assert len({fingerprint(plain), *(fingerprint(other) for other in others)}) == 5
