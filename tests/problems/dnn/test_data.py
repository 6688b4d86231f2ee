from __future__ import annotations

import pytest
import torch

from problems.dnn import SupervisedData, digits
from zotoolkit.errors import InvalidSetting


def test_digits_are_real_split_and_normalised() -> None:
    data = digits()
    assert data.test_inputs is not None
    assert data.test_targets is not None
    assert data.train_inputs.shape == (1438, 1, 8, 8)
    assert data.test_inputs.shape == (359, 1, 8, 8)
    assert data.train_inputs.mean().abs() < 1e-4
    assert float(data.train_inputs.std()) == pytest.approx(1.0, abs=1e-4)
    assert torch.bincount(data.test_targets).min() > 20
    rows = torch.cat((data.train_inputs, data.test_inputs)).flatten(1)
    assert len(torch.unique(rows, dim=0)) == 1797  # no image is in both sets, or twice in one


def test_hold_out_keeps_the_test_set_out_of_sight() -> None:
    data = digits()
    tuned = data.hold_out(0.25, seed=3)
    assert tuned.test_inputs is not None
    assert len(tuned.train_inputs) + len(tuned.test_inputs) == 1438
    rows = torch.cat((tuned.train_inputs, tuned.test_inputs)).flatten(1)
    both = torch.unique(torch.cat((rows, data.train_inputs.flatten(1))), dim=0)
    assert len(both) == 1438
    assert torch.equal(tuned.train_inputs, data.hold_out(0.25, seed=3).train_inputs)
    for share in (0.0, 1.0):
        with pytest.raises(InvalidSetting, match="share must leave samples on both sides"):
            data.hold_out(share)


def test_bad_data_is_said() -> None:
    x, y = torch.zeros(4, 2), torch.zeros(4)
    with pytest.raises(InvalidSetting, match="one target a sample, got 4 and 3 rows"):
        SupervisedData(x, y[:3])
    with pytest.raises(InvalidSetting, match="give both or neither"):
        SupervisedData(x, y, x)
    with pytest.raises(InvalidSetting, match="train_inputs must be a tensor"):
        SupervisedData(x[:0], y[:0])
    with pytest.raises(InvalidSetting, match="train_targets must be a tensor"):
        SupervisedData(x, [0, 1, 2, 3])  # pyright: ignore[reportArgumentType]
