from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from problems.dnn.data import CropFlip
from zotoolkit.errors import InvalidSetting


def images(dtype: torch.dtype = torch.float32, count: int = 30) -> Tensor:
    values = torch.randint(1, 250, (count, 3, 8, 6), generator=torch.Generator().manual_seed(0))
    return values.to(dtype)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64, torch.float16])
def test_every_image_is_a_crop_of_its_padded_self_or_of_its_mirror(dtype: torch.dtype) -> None:
    x = images(dtype)
    out = CropFlip(padding=2)(x, seed=5)
    assert out.dtype == dtype
    assert out.shape == x.shape
    seen = set()
    for before, after in zip(x, out, strict=True):
        padded = np.pad(before.numpy(), ((0, 0), (2, 2), (2, 2)))
        crops = {
            (top, left, mirrored): padded[:, top : top + 8, left : left + 6][:, :, :: -1 if mirrored else 1]
            for top in range(5)
            for left in range(5)
            for mirrored in (False, True)
        }
        fits = [place for place, crop in crops.items() if np.array_equal(crop, after.numpy())]
        assert len(fits) == 1
        seen.add(fits[0])
    assert len({top for top, _, _ in seen}) == len({left for _, left, _ in seen}) == 5
    assert {mirrored for _, _, mirrored in seen} == {False, True}


def test_it_is_a_function_of_the_seed() -> None:
    x = images()
    augment = CropFlip()
    state = torch.get_rng_state()
    assert torch.equal(augment(x, 1), augment(x, 1))
    assert not torch.equal(augment(x, 1), augment(x, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(augment(x.to(torch.uint8), 1).float(), augment(x, 1))
    assert torch.equal(CropFlip(padding=0, flip=False)(x, 1), x)


def test_bad_settings_are_said() -> None:
    with pytest.raises(InvalidSetting, match="padding must be an integer of at least 0, got -1"):
        CropFlip(padding=-1)
    with pytest.raises(InvalidSetting, match=r"images must have shape .*, got a tensor of shape \(3, 4\)"):
        CropFlip()(torch.zeros(3, 4), 0)
