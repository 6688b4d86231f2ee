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


def images(count: int = 40) -> SupervisedData:
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (count + 12, 2, 3, 3), generator=generator, dtype=torch.uint8)
    y = torch.cat((torch.zeros(count - 5), torch.ones(5), torch.arange(12) % 2)).to(torch.int64)
    return SupervisedData(x[:count], y[:count], x[count:], y[count:], mean=(0.2, 0.4), std=(0.5, 0.25))


def test_normalisation_is_by_channel_and_leaves_memory_alone() -> None:
    data = images()
    block = data.normalised(data.train_inputs[:3])
    raw = data.train_inputs[:3].double() / 255
    expected = torch.stack(((raw[:, 0] - 0.2) / 0.5, (raw[:, 1] - 0.4) / 0.25), dim=1)
    assert block.dtype == torch.float32
    torch.testing.assert_close(block, expected.float())
    wide = data.to("cpu", torch.float64)
    assert wide.train_inputs.dtype == torch.uint8
    torch.testing.assert_close(wide.normalised(wide.train_inputs[:3]), expected)
    held = wide.hold_out(0.5)
    assert held.mean == (0.2, 0.4)
    assert held.normalised(held.train_inputs[:1]).dtype == torch.float64
    plain = SupervisedData(data.train_inputs, data.train_targets)
    assert plain.normalised(plain.train_inputs) is plain.train_inputs
    shifted = SupervisedData(torch.ones(2, 3), torch.zeros(2), mean=0.5, std=0.25)
    assert shifted.normalised(shifted.train_inputs).tolist() == [[2.0] * 3] * 2


def test_subsets_are_balanced_nested_and_seeded() -> None:
    data = images()
    part = data.subset(train=8, test=4, seed=1)
    assert part.train_targets.bincount().tolist() == [4, 4]
    assert part.test_targets is not None
    assert part.test_targets.bincount().tolist() == [2, 2]
    assert data.subset(train=20).train_targets.bincount().tolist() == [15, 5]  # there are no more than 5
    assert torch.equal(part.train_inputs, data.subset(train=8, seed=1).train_inputs)
    assert not torch.equal(part.train_inputs, data.subset(train=8, seed=2).train_inputs)

    def rows(of: SupervisedData) -> set[tuple[int, ...]]:
        return {tuple(row) for row in of.train_inputs.flatten(1).tolist()}

    assert rows(part) < rows(data.subset(train=12, seed=1)) < rows(data)
    assert torch.equal(data.subset().train_inputs, data.train_inputs)
    regression = SupervisedData(torch.arange(10.0)[:, None], torch.arange(10.0))
    assert len(regression.subset(train=4).train_inputs) == 4
    for settings, words in (
        ({"train": 41}, "train must be at most the 40 samples that there are, got 41"),
        ({"train": 0}, "train must be an integer of at least 1"),
    ):
        with pytest.raises(InvalidSetting, match=words):
            data.subset(**settings)
    with pytest.raises(InvalidSetting, match="test must be at most the 0 samples"):
        regression.subset(test=1)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"mean": 0.5}, "mean and std come together"),
        ({"mean": (0.1, 0.2, 0.3), "std": 1.0}, r"mean must be finite, one number or one for each channel of \(4, 2\)"),
        ({"mean": 0.0, "std": 0.0}, "std must be finite and above 0"),
        ({"mean": "grey", "std": 1.0}, "mean must be a number or one a channel, got 'grey'"),
        ({"dtype": torch.int8}, "dtype must be a floating-point dtype, got torch.int8"),
    ],
)
def test_bad_normalisation_is_said(settings: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidSetting, match=words):
        SupervisedData(torch.zeros(4, 2), torch.zeros(4), **settings)  # pyright: ignore[reportArgumentType]


def test_both_sets_have_samples_of_one_shape() -> None:
    with pytest.raises(InvalidSetting, match=r"must have one shape, got \(2,\) and \(3,\)"):
        SupervisedData(torch.zeros(4, 2), torch.zeros(4), torch.zeros(4, 3), torch.zeros(4))
