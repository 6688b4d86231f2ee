"""CIFAR in its three layouts, whole and broken."""

from __future__ import annotations

import io
import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from problems.dnn import cifar10, cifar100
from problems.dnn.data.image_sets import IMAGE_SETS
from zotoolkit.errors import DataDamaged, DataMissing, InvalidSetting, MissingExtra


def batch(folder: Path, number: int) -> np.ndarray:
    """The records of a training file."""
    path = folder / "cifar-10-batches-bin" / f"data_batch_{number}.bin"
    return np.fromfile(path, np.uint8).reshape(-1, 3073)


def test_binary_records_come_out_as_they_are(cifar10_folder: Path) -> None:
    data = cifar10(cifar10_folder)
    assert data.train_inputs.shape == (60, 3, 32, 32)
    assert data.train_inputs.dtype == torch.uint8
    third = batch(cifar10_folder, 3)
    assert int(data.train_targets[24 + 5]) == third[5, 0]
    assert int(data.train_inputs[24 + 5, 1, 2, 7]) == third[5, 1 + 1024 + 2 * 32 + 7]
    assert data.test_inputs is not None
    assert len(data.test_inputs) == 20
    block = data.normalised(data.train_inputs[:2])
    assert float(block[0, 2, 0, 0]) == pytest.approx((int(data.train_inputs[0, 2, 0, 0]) / 255 - 0.4465) / 0.2616, 1e-5)


def test_where_it_is_looked_for(
    cifar10_folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = cifar10(cifar10_folder).train_inputs
    assert torch.equal(cifar10(cifar10_folder / "cifar-10-batches-bin").train_inputs, whole)
    above = tmp_path_factory.mktemp("above")
    (above / "images").symlink_to(cifar10_folder)
    assert torch.equal(cifar10(str(above)).train_inputs, whole)  # one level down
    monkeypatch.setenv("ZOTOOLKIT_DATA", str(cifar10_folder))
    assert torch.equal(cifar10().train_inputs, whole)
    monkeypatch.delenv("ZOTOOLKIT_DATA")
    monkeypatch.chdir(cifar10_folder)
    (cifar10_folder / "data").mkdir()
    (cifar10_folder / "cifar-10-batches-bin").rename(cifar10_folder / "data" / "cifar-10-batches-bin")
    assert torch.equal(cifar10().train_inputs, whole)
    assert IMAGE_SETS["cifar10"].is_there()
    assert not IMAGE_SETS["cifar100"].is_there()


def test_what_is_missing_is_said_in_one_line(
    cifar10_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataMissing, match=r"CIFAR-10 is not in the folder .*empty: put data_batch_1\.bin to") as caught:
        cifar10(tmp_path / "empty")
    assert "\n" not in str(caught.value)
    assert "ZOTOOLKIT_DATA" in str(caught.value)
    with pytest.raises(DataMissing, match=r"CIFAR-100 .*put train\.bin and test\.bin of https"):
        cifar100(tmp_path / "empty")
    with pytest.raises(DataMissing, match=r"there is no folder .*nowhere"):
        cifar10(tmp_path / "nowhere")
    with pytest.raises(InvalidSetting, match="folder must be a path, got 3"):
        cifar10(3)  # pyright: ignore[reportArgumentType]
    monkeypatch.setenv("ZOTOOLKIT_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataMissing, match=r"CIFAR-10 is not in the folder .*nowhere"):
        cifar10()
    (cifar10_folder / "cifar-10-batches-bin" / "data_batch_4.bin").unlink()
    with pytest.raises(DataMissing, match=r"cifar-10-batches-bin: put its missing files there \(data_batch_4\.bin\)"):
        cifar10(cifar10_folder)


def test_damaged_files_are_named(cifar10_folder: Path) -> None:
    path = cifar10_folder / "cifar-10-batches-bin" / "data_batch_2.bin"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(DataDamaged, match=r"data_batch_2\.bin has 36,875 bytes, no whole number of records of 3,073"):
        cifar10(cifar10_folder)
    path.write_bytes(b"")
    with pytest.raises(DataDamaged, match=r"data_batch_2\.bin has 0 bytes"):
        cifar10(cifar10_folder)
    path.write_bytes(whole[:-3073])
    with pytest.raises(DataDamaged, match=r"data_batch_2\.bin has 11 records, another file 12"):
        cifar10(cifar10_folder)
    table = batch(cifar10_folder, 1)
    table[4, 0] = 10
    table.tofile(path)
    with pytest.raises(DataDamaged, match=r"data_batch_2\.bin: record 4 has label 10, which must be 0 to 9"):
        cifar10(cifar10_folder)


def test_cifar100_has_its_fine_labels(cifar100_folder: Path) -> None:
    data = cifar100(cifar100_folder)
    assert data.train_targets[:120].tolist() == [*range(100), *range(20)]
    assert data.train_inputs.shape == (200, 3, 32, 32)


def pickled(content: object, protocol: int = 2) -> bytes:
    """As the published files are: protocol 2."""
    return pickle.dumps(content, protocol=protocol)


def write_pickles(home: Path, key: str, train: list[str], test: str, classes: int) -> np.ndarray:
    """Write files of 10 images each; return the last one's pixels."""
    home.mkdir(parents=True)
    pixels = np.zeros((10, 3072), np.uint8)
    for seed, name in enumerate([*train, test]):
        pixels = np.random.default_rng(seed).integers(0, 256, (10, 3072)).astype(np.uint8)
        labels = [int(label) for label in np.arange(10) * classes // 10]
        (home / name).write_bytes(pickled({"data": pixels, key: labels, "batch_label": "some batch"}))
    return pixels


@pytest.mark.parametrize("load", [cifar10, cifar100])
def test_torchvisions_pickles(tmp_path: Path, load: object) -> None:
    if load is cifar10:
        names = [f"data_batch_{n}" for n in range(1, 6)]
        last = write_pickles(tmp_path / "cifar-10-batches-py", "labels", names, "test_batch", 10)
    else:
        last = write_pickles(tmp_path / "cifar-100-python", "fine_labels", ["train"], "test", 100)
    data = load(tmp_path)  # pyright: ignore[reportCallIssue]
    assert data.test_inputs.flatten(1).numpy().tolist() == last.tolist()
    assert data.train_targets.max() == (9 if load is cifar10 else 90)


def test_a_pickle_cannot_run_anything(tmp_path: Path) -> None:
    home = tmp_path / "cifar-100-python"
    write_pickles(home, "fine_labels", ["train"], "test", 100)
    victim = tmp_path / "victim"
    victim.mkdir()

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.rmdir, (str(victim),)

    for protocol in (0, 2, 4):
        (home / "train").write_bytes(pickled({"data": Evil(), "fine_labels": []}, protocol))
        with pytest.raises(DataDamaged, match=rf"train is no CIFAR file.*asks for {os.name}\.rmdir"):
            cifar100(tmp_path)
    assert victim.is_dir()


def test_damaged_pickles_are_named(tmp_path: Path) -> None:
    home = tmp_path / "cifar-100-python"
    write_pickles(home, "fine_labels", ["train"], "test", 100)
    whole = (home / "train").read_bytes()
    images = np.zeros((2, 3072), np.uint8)
    for content, words in (
        (whole[:200], "is no CIFAR file in Python's layout"),
        (b"", "is no CIFAR file in Python's layout"),
        (pickled([1, 2]), "is no CIFAR file in Python's layout"),
        (pickled({"data": images}), "is no CIFAR file in Python's layout: 'fine_labels'"),
        (pickled({"data": images[:, :5], "fine_labels": [0, 1]}), r"data must be \(n, 3072\) uint8, got \(2, 5\)"),
        (pickled({"data": images, "fine_labels": [0]}), "has 2 images and 1 labels"),
        (pickled({"data": images, "fine_labels": [0, 100]}), "record 1 has label 100, which must be 0 to 99"),
    ):
        (home / "train").write_bytes(content)
        with pytest.raises(DataDamaged, match=words) as caught:
            cifar100(tmp_path)
        assert str(home / "train") in str(caught.value)


def write_parquet(path: Path, labels: dict[str, list[int]], seed: int) -> np.ndarray:
    """Write a file as the Hugging Face hub keeps them; return its pixels, channels last."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    image = pytest.importorskip("PIL.Image")
    count = len(next(iter(labels.values())))
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3)).astype(np.uint8)
    column = []
    for picture in pixels:
        image.fromarray(picture).save(buffer := io.BytesIO(), format="PNG")
        column.append({"bytes": buffer.getvalue(), "path": None})
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.table({"img": column, **labels}), path)
    return pixels


def test_hugging_faces_parquet_files(tmp_path: Path) -> None:
    home = tmp_path / "cifar" / "plain_text"
    parts = [write_parquet(home / f"train-0000{n}-of-00002.parquet", {"label": [n, 9]}, n) for n in (0, 1)]
    write_parquet(home / "test-00000-of-00001.parquet", {"label": [3]}, 5)
    fine = {"fine_label": [99, 0], "coarse_label": [19, 0]}
    for part in ("train", "test"):
        write_parquet(tmp_path / "cifar100" / f"{part}-00000-of-00001.parquet", fine, 6)
    data = cifar10(tmp_path)
    assert data.train_targets.tolist() == [0, 9, 1, 9]
    assert np.array_equal(data.train_inputs.permute(0, 2, 3, 1).numpy(), np.concatenate(parts))
    assert cifar100(tmp_path).train_targets.tolist() == [99, 0]
    write_parquet(home / "train-00001-of-00002.parquet", {"label": [10]}, 1)
    with pytest.raises(DataDamaged, match=r"train-00001-of-00002\.parquet: record 0 has label 10"):
        cifar10(tmp_path)
    (home / "train-00001-of-00002.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataDamaged, match=r"train-00001-of-00002\.parquet is no Parquet file"):
        cifar10(tmp_path)


def test_parquet_files_need_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("train", "test"):
        (tmp_path / f"{part}.parquet").touch()
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingExtra, match=r"pip install 'zotoolkit\[images\]'"):
        cifar10(tmp_path)
