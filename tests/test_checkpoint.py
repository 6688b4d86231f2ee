"""Checkpoints: what goes in comes out, and every kind of damage is told apart."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from zotoolkit.checkpoint import FILE_NAME, check_header, has_checkpoint, load_state, save_state
from zotoolkit.errors import (
    CheckpointDamaged,
    CheckpointMismatch,
    CheckpointMissing,
    CheckpointVersion,
    InvalidSetting,
    ResultsUnwritable,
)

STATE: dict[str, Any] = {
    "x": torch.arange(5, dtype=torch.float64),
    "nested": {0: {"momentum": torch.ones(2, 2), "betas": (0.9, 0.999)}, "list": [1, None, True, "text", 2.5]},
    "empty": torch.zeros(0, dtype=torch.int64),
    "scalar": torch.tensor(3.0),
    "mask": torch.tensor([True, False]),
    "best": float("inf"),
}


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or (a != a and b != b))


def test_a_state_comes_back_as_it_went_in(tmp_path: Path) -> None:
    save_state(tmp_path / "new" / "folder", STATE, {"seed": 1})
    state, header = load_state(tmp_path / "new" / "folder")
    assert same(state, STATE)
    assert header == {"seed": 1}


json_like = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.integers() | st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(state=st.dictionaries(st.text(max_size=5), json_like, max_size=4))
@settings(deadline=None, max_examples=50)
def test_any_nesting_comes_back(state: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("state")
    save_state(folder, state, {})
    assert same(load_state(folder)[0], state)


def test_tensors_that_share_memory_and_views_are_stored(tmp_path: Path) -> None:
    whole = torch.arange(6.0).view(2, 3)
    save_state(tmp_path, {"whole": whole, "column": whole[:, 1]}, {})
    assert load_state(tmp_path)[0]["column"].tolist() == [1.0, 4.0]


def test_numpy_numbers_are_stored_as_numbers(tmp_path: Path) -> None:
    save_state(tmp_path, {"n": np.int64(3)}, {})
    assert load_state(tmp_path)[0]["n"] == 3


def test_something_that_would_need_pickle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match=r"got .*object"):
        save_state(tmp_path, {"thing": object()}, {})


def test_saving_again_replaces_and_leaves_nothing_behind(tmp_path: Path) -> None:
    save_state(tmp_path, {"k": 1}, {})
    save_state(tmp_path, {"k": 2}, {})
    assert load_state(tmp_path)[0]["k"] == 2
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_a_missing_checkpoint(tmp_path: Path) -> None:
    assert not has_checkpoint(tmp_path)
    with pytest.raises(CheckpointMissing, match="no checkpoint in"):
        load_state(tmp_path)


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_a_truncated_checkpoint(tmp_path: Path, keep: int) -> None:
    path = save_state(tmp_path, STATE, {})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointDamaged, match="damaged"):
        load_state(tmp_path)


def test_a_flipped_bit_in_a_tensor(tmp_path: Path) -> None:
    path = save_state(tmp_path, STATE, {})
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(CheckpointDamaged, match="digest"):
        load_state(tmp_path)


def test_a_safetensors_file_of_something_else(tmp_path: Path) -> None:
    save_file({"weight": torch.ones(3)}, tmp_path / FILE_NAME)
    with pytest.raises(CheckpointDamaged):
        load_state(tmp_path)


def test_a_checkpoint_of_another_format(tmp_path: Path) -> None:
    path = save_state(tmp_path, STATE, {})
    with safe_open(path, framework="pt") as file:
        metadata = {**(file.metadata() or {}), "format": "99"}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(tensors, path, metadata)
    with pytest.raises(CheckpointVersion, match="format 99"):
        load_state(tmp_path)


def test_a_checkpoint_of_another_problem(tmp_path: Path) -> None:
    with pytest.raises(CheckpointMismatch, match=r"problem 'A', this run has problem 'B'"):
        check_header({"problem": "A"}, {"problem": "B"}, tmp_path)
    check_header({"problem": "A", "settings": {"dim": "3"}, "more": 1}, {"settings": {"dim": "3"}}, tmp_path)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsUnwritable, match="cannot write a checkpoint"):
        save_state(tmp_path / "file" / "sub", STATE, {})


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write into a read-only folder")
def test_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(ResultsUnwritable):
        save_state(tmp_path, STATE, {})


def test_a_write_that_fails_half_way_keeps_the_former_checkpoint(tmp_path: Path) -> None:
    """A limit on the file size stops the write in the middle, as a full disk does."""
    save_state(tmp_path, {"k": 1}, {})
    script = """
import sys, torch
from zotoolkit.checkpoint import save_state
from zotoolkit.errors import ResultsUnwritable
try:
    save_state(sys.argv[1], {"x": torch.zeros(1_000_000)}, {})
except ResultsUnwritable as error:
    print(error)
"""
    limit = 1 << 20
    result = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert "the former checkpoint is kept" in result.stdout
    assert load_state(tmp_path)[0] == {"k": 1}
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_the_metadata_is_readable_json(tmp_path: Path) -> None:
    path = save_state(tmp_path, STATE, {"problem": "Functions/Sphere-v0"})
    with safe_open(path, framework="pt") as file:
        assert json.loads((file.metadata() or {})["header"]) == {"problem": "Functions/Sphere-v0"}
