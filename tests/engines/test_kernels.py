"""The compiled passes against the functions that say what they compute."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from zotoolkit.engines import kernels as plain
from zotoolkit.engines.kernels import Kernels
from zotoolkit.engines.native.build import library

pytestmark = pytest.mark.skipif(library() is None, reason="no C++ compiler")

SHAPES = [(3, 1000, 16), (2, 37, 5), (1, 64, 64), (4, 300, 130), (2, 10, 48), (2, 1, 1)]
TOLERANCE = {torch.float32: 1e-6, torch.bfloat16: 1e-2}


def _inputs(shape: tuple[int, int, int], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    candidates, rows, channels = shape

    def normal(*size: int) -> torch.Tensor:
        return torch.randn(size, generator=generator)

    return {
        "change": (0.1 * normal(*shape)).to(dtype),
        "normed": normal(rows, channels).to(dtype),
        "base": normal(rows, channels).to(dtype),
        "other": (0.1 * normal(*shape)).to(dtype),
        "column": normal(candidates, rows, 1),
        "index": torch.randint(channels, (candidates,), generator=generator),
        "gain": 0.5 + normal(channels).abs(),
        "variance": 0.5 + normal(channels).abs(),
    }


def _close(mine: torch.Tensor, true: torch.Tensor, tolerance: float) -> None:
    assert mine.shape == true.shape
    assert mine.dtype == true.dtype
    scale = true.double().abs().max().clamp(min=1e-30)
    assert float((mine.double() - true.double()).abs().max() / scale) <= tolerance


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_passes_compute_what_the_plain_functions_do(shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    given, fused, tolerance = _inputs(shape, dtype), Kernels(True), TOLERANCE[dtype]
    for gain, variance in ((given["gain"], given["variance"]), (given["gain"].expand(shape[0], -1),) * 2):
        arguments = (given["change"], given["normed"], gain, variance)
        coefficients = plain.norm_coefficients(*arguments)
        _close(fused.norm_coefficients(*arguments), coefficients, 1e-5)
    start = (given["change"], given["normed"], coefficients)
    extras = {
        "norm_apply": (),
        "norm_relu": (given["base"],),
        "norm_add_relu": (given["base"], given["other"]),
        "norm_add_narrow_relu": (given["base"], given["column"], given["index"]),
    }
    for name, extra in extras.items():
        expected = getattr(plain, name)(*start, *extra)
        kept = given["change"].clone()
        _close(getattr(fused, name)(*start, *extra), expected, tolerance)
        assert torch.equal(given["change"], kept)
        out = getattr(fused, name)(kept, *start[1:], *extra, reuse=True)
        assert out is kept
        _close(out, expected, tolerance)
    _close(fused.position_mean(given["change"]), plain.position_mean(given["change"]), tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("size", "kernel", "stride", "channels"),
    [
        ((10, 10), (3, 3), (1, 1), (5, 64)),
        ((9, 11), (3, 3), (2, 2), (4, 20)),
        ((9, 11), (2, 5), (1, 2), (4, 20)),
        ((8, 8), (1, 1), (2, 2), (4, 16)),
    ],
)
def test_one_channel_is_convolved(
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    channels: tuple[int, int],
    dtype: torch.dtype,
) -> None:
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(channels[1], channels[0], *kernel, generator=generator)
    change = torch.randn(3, 2, *size, generator=generator)
    index = torch.tensor([0, channels[0] - 1, 1])
    table = weight.flatten(2).permute(1, 2, 0).contiguous()
    true = torch.stack(
        [functional.conv2d(change[p][:, None], weight[:, index[p]][:, None], stride=stride) for p in range(3)]
    ).permute(0, 1, 3, 4, 2)
    for form in (plain.spread_channel, Kernels(True).spread_channel):
        out = form(change, table, index, dtype, kernel, stride)
        assert out.dtype == dtype
        _close(out, true.to(dtype), TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_result_depends_on_the_number_of_threads(dtype: torch.dtype) -> None:
    given, fused = _inputs((3, 5000, 24), dtype), Kernels(True)
    threads, answers = torch.get_num_threads(), []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            coefficients = fused.norm_coefficients(given["change"], given["normed"], given["gain"], given["variance"])
            out = fused.norm_relu(given["change"], given["normed"], coefficients, given["base"])
            answers.append((coefficients, out, fused.position_mean(given["change"])))
    finally:
        torch.set_num_threads(threads)
    for one, other in zip(*answers, strict=True):
        assert torch.equal(one, other)


def test_what_was_not_compiled_for_takes_the_plain_form() -> None:
    given, fused = _inputs((2, 40, 6), torch.float32), Kernels(True)
    wide = {name: value.double() if value.is_floating_point() else value for name, value in given.items()}
    arguments = (wide["change"], wide["normed"], wide["gain"], wide["variance"])
    assert torch.equal(fused.norm_coefficients(*arguments), plain.norm_coefficients(*arguments))
    gaps = given["change"].transpose(0, 1).contiguous().transpose(0, 1)
    assert not gaps.is_contiguous()
    assert torch.equal(fused.position_mean(gaps), plain.position_mean(gaps))
    own = given["normed"].expand(2, -1, -1).contiguous()
    assert torch.equal(
        fused.norm_coefficients(given["change"], own, given["gain"], given["variance"]),
        plain.norm_coefficients(given["change"], own, given["gain"], given["variance"]),
    )


def test_a_nan_stays_visible() -> None:
    given, fused = _inputs((2, 40, 16), torch.bfloat16), Kernels(True)
    coefficients = plain.norm_coefficients(given["change"], given["normed"], given["gain"], given["variance"])
    given["change"][1, 3, 2] = float("nan")
    out = fused.norm_relu(given["change"], given["normed"], coefficients, given["base"])
    assert torch.isnan(out).nonzero().tolist() == [[1, 3, 2]]
