"""Test functions: each against a scalar formula written apart from it, plus what all of them promise."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import zotoolkit
from problems.functions import BenchmarkFunction, Ellipsoid, Rosenbrock, SeparableFunction, Sphere
from zotoolkit.errors import InvalidSetting, InvalidSpace, UnknownSetting


def _sphere(z: list[float]) -> float:
    return math.fsum(v * v for v in z)


def _ellipsoid(z: list[float]) -> float:
    d = len(z)
    return math.fsum(10.0 ** (6.0 * i / (d - 1) if d > 1 else 0.0) * z[i] * z[i] for i in range(d))


def _rosenbrock(z: list[float]) -> float:
    return math.fsum(100.0 * (b - a * a) ** 2 + (1.0 - a) ** 2 for a, b in itertools.pairwise(z))


def _rastrigin(z: list[float]) -> float:
    return 10.0 * len(z) + math.fsum(v * v - 10.0 * math.cos(2.0 * math.pi * v) for v in z)


def _ackley(z: list[float]) -> float:
    d = len(z)
    root = math.sqrt(math.fsum(v * v for v in z) / d)
    wave = math.fsum(math.cos(2.0 * math.pi * v) for v in z) / d
    return -20.0 * math.exp(-0.2 * root) - math.exp(wave) + 20.0 + math.e


def _griewank(z: list[float]) -> float:
    product = math.prod(math.cos(v / math.sqrt(i)) for i, v in enumerate(z, start=1))
    return math.fsum(v * v for v in z) / 4000.0 - product + 1.0


def _levy(z: list[float]) -> float:
    w = [1.0 + (v - 1.0) / 4.0 for v in z]
    middle = math.fsum((a - 1) ** 2 * (1 + 10 * math.sin(math.pi * a + 1) ** 2) for a in w[:-1])
    return math.sin(math.pi * w[0]) ** 2 + middle + (w[-1] - 1) ** 2 * (1 + math.sin(2 * math.pi * w[-1]) ** 2)


def _schwefel(z: list[float]) -> float:
    return 418.982887272433799 * len(z) - math.fsum(v * math.sin(math.sqrt(abs(v))) for v in z)


def _styblinski_tang(z: list[float]) -> float:
    return 0.5 * math.fsum(v**4 - 16.0 * v * v + 5.0 * v for v in z)


# id: (independent formula, size of a typical value, for the tolerance)
FORMULAE = {
    "Sphere": _sphere,
    "Ellipsoid": _ellipsoid,
    "Rosenbrock": _rosenbrock,
    "Rastrigin": _rastrigin,
    "Ackley": _ackley,
    "Griewank": _griewank,
    "Levy": _levy,
    "Schwefel": _schwefel,
    "StyblinskiTang": _styblinski_tang,
}
SEPARABLE = ("Sphere", "Ellipsoid", "Rastrigin", "Schwefel", "StyblinskiTang")
VARIANTS = ({}, {"instance": 3}, {"instance": 3, "rotated": True})


def make(name: str, **settings: object) -> BenchmarkFunction:
    made = zotoolkit.make(f"Functions/{name}-v0", **settings)
    assert isinstance(made, BenchmarkFunction)
    return made


def points_in(function: BenchmarkFunction, count: int, seed: int = 0) -> Tensor:
    share = torch.rand(count, function.dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return (function.low + share * (function.high - function.low)).to(function.dtype)


@pytest.mark.parametrize("name", FORMULAE)
@pytest.mark.parametrize("dim", [2, 3, 17])
def test_batched_formula_equals_a_scalar_one(name: str, dim: int) -> None:
    function = make(name, dim=dim)
    x = points_in(function, 20)
    expected = torch.tensor([FORMULAE[name](row) for row in x.tolist()], dtype=torch.float64)
    torch.testing.assert_close(function.noise_free(x), expected, rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize("name", [n for n in FORMULAE if n != "Rosenbrock"])
def test_one_dimension_works(name: str) -> None:
    function = make(name, dim=1)
    x = points_in(function, 5)
    expected = torch.tensor([FORMULAE[name](row) for row in x.tolist()], dtype=torch.float64)
    torch.testing.assert_close(function.noise_free(x), expected, rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize("name", FORMULAE)
@pytest.mark.parametrize("settings", VARIANTS)
@pytest.mark.parametrize("dim", [2, 10, 600])
def test_the_minimum_is_where_and_what_it_says(name: str, settings: dict[str, object], dim: int) -> None:
    function = make(name, dim=dim, **settings)
    assert function.metadata["optimum_value"] == function.minimum
    torch.testing.assert_close(
        function.noise_free(function.minimiser[None])[0].item(), function.minimum, rtol=1e-12, atol=1e-9
    )
    known = -39.16616570377142 * dim if name == "StyblinskiTang" else 0.0
    assert function.minimum == pytest.approx(known, rel=1e-12, abs=1e-9)
    assert bool((function.noise_free(points_in(function, 200)) > function.minimum).all())
    step = 1e-3 * torch.randn(50, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert bool((function.noise_free(function.minimiser + step) > function.minimum).all())


@pytest.mark.parametrize("name", [n for n in FORMULAE if n != "Ackley"])  # Ackley has a cusp there
@pytest.mark.parametrize("settings", VARIANTS)
def test_the_gradient_vanishes_at_the_minimum(name: str, settings: dict[str, object]) -> None:
    function = make(name, dim=7, **settings)
    value, gradient = function.gradient(function.minimiser, 0)
    assert value.item() == pytest.approx(function.minimum, abs=1e-9)
    assert float(gradient.abs().max()) < 1e-9


@pytest.mark.parametrize("name", FORMULAE)
@pytest.mark.parametrize("settings", VARIANTS)
def test_gradients_agree_with_finite_differences(name: str, settings: dict[str, object]) -> None:
    function = make(name, dim=4, **settings)
    x = points_in(function, 1, seed=5)[0]
    _, gradient = function.gradient(x, 0)
    step = 1e-6 * (function.high - function.low)
    eye = step * torch.eye(4, dtype=torch.float64)
    slopes = (function.noise_free(x + eye) - function.noise_free(x - eye)) / (2 * step)
    torch.testing.assert_close(gradient, slopes, rtol=1e-5, atol=1e-5 * float(gradient.abs().max()))


@given(
    name=st.sampled_from(sorted(FORMULAE)),
    instance=st.integers(0, 2**63 - 1),
    dim=st.integers(2, 30),
    rotated=st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_instances_keep_the_minimum_well_inside(name: str, instance: int, dim: int, rotated: bool) -> None:
    function = make(name, dim=dim, instance=instance, rotated=rotated)
    share = (function.minimiser - function.low) / (function.high - function.low)
    assert float(share.min()) > 0.19
    assert float(share.max()) < 0.81
    assert function.minimum == make(name, dim=dim).minimum
    # No point of the box lies below f*, wherever shift and rotation put it in raw coordinates.
    assert float(function.noise_free(points_in(function, 100)).min()) >= function.minimum


@pytest.mark.parametrize("name", FORMULAE)
def test_instances_differ_and_repeat(name: str) -> None:
    first, again, other = make(name, instance=1), make(name, instance=1), make(name, instance=2)
    x = points_in(first, 5)
    assert torch.equal(first.noise_free(x), again.noise_free(x))
    assert not torch.allclose(first.noise_free(x), other.noise_free(x))
    turned, turned_again = make(name, instance=1, rotated=True), make(name, instance=1, rotated=True)
    assert torch.equal(turned.noise_free(x), turned_again.noise_free(x))
    if name != "Sphere":
        assert not torch.allclose(first.noise_free(x), turned.noise_free(x))


@given(data=st.data())
@settings(deadline=None, max_examples=80)
def test_fast_path_equals_dense(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(SEPARABLE))
    dtype = data.draw(st.sampled_from(["float32", "float64"]))
    function = make(
        name,
        dim=data.draw(st.integers(1, 40)),
        instance=data.draw(st.sampled_from([None, 7])),
        noise=data.draw(st.sampled_from([0.0, 0.5])),
        dtype=dtype,
    )
    assert isinstance(function, SeparableFunction)
    function.reset(seed=data.draw(st.integers(0, 99)))
    count = data.draw(st.integers(1, 20))
    index = torch.tensor(data.draw(st.lists(st.integers(0, function.dim - 1), min_size=count, max_size=count)))
    scales = data.draw(st.lists(st.floats(-1, 1, width=32), min_size=count, max_size=count))
    batch = zotoolkit.CoordinateBatch(
        base=points_in(function, 1, seed=count)[0],
        scale=torch.tensor(scales, dtype=function.dtype),
        index=index.to(torch.int64).reshape(count),
        context=data.draw(st.integers(0, 9)),
    )
    fast, dense = function.evaluate_coordinates(batch), function.evaluate(batch.points(), batch.context)
    assert fast is not None
    # Both add float64 numbers of the same terms; only the order differs. 1e-12 of the largest partial sum.
    size = float(function.noise_free(batch.base[None]).abs()[0]) + 1e3 * function.dim
    torch.testing.assert_close(fast, dense, rtol=1e-12, atol=1e-12 * size)
    values, *_ = function.step(batch)
    torch.testing.assert_close(values, dense, rtol=1e-12, atol=1e-12 * size)
    for size_ in (1, 3):
        parts = [function.step(part)[0] for part in batch.split(size_)]
        assert torch.equal(torch.cat(parts), values)


def test_fast_path_pays_for_what_it_computes() -> None:
    function = make("Sphere", dim=100)
    function.reset()
    index = torch.arange(100)
    batch = zotoolkit.CoordinateBatch(
        base=torch.zeros(100, dtype=torch.float64), scale=torch.ones(100, dtype=torch.float64), index=index
    )
    *_, info = function.step(batch)
    assert info["queries"] == 100
    assert info["costs"] == {"forward_equivalents": 3.0}
    assert function.step(batch[:0])[3]["costs"] == {"forward_equivalents": 0.0}
    dense = make("Sphere", dim=100, instance=1, rotated=True)
    assert dense.evaluate_coordinates(batch) is None
    assert dense.step(batch)[3]["costs"] == {"forward_equivalents": 100.0}


def test_fast_path_reaches_a_million_dimensions() -> None:
    function = make("Sphere", dim=1_000_000, dtype="float32")
    base = torch.full((1_000_000,), 0.5)
    batch = zotoolkit.CoordinateBatch(base=base, scale=torch.ones(1_000_000), index=torch.arange(1_000_000))
    values, *_ = function.step(batch)
    torch.testing.assert_close(values, torch.full_like(values, 250_000.0 + 2.0), rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("name", ["Sphere", "Rosenbrock"])
def test_noise_is_a_function_of_seed_context_and_point(name: str) -> None:
    function = make(name, dim=3, noise=2.0)
    function.reset(seed=1)
    x = points_in(function, 4000)
    truth = function.noise_free(x)
    noise = function.evaluate(x, 0) - truth
    assert torch.equal(make(name, dim=3).noise_free(x), truth)
    assert abs(float(noise.mean())) < 4 * 2.0 / math.sqrt(4000)
    assert float(noise.std()) == pytest.approx(2.0, rel=0.05)
    shuffled = torch.randperm(4000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(function.evaluate(x[shuffled], 0), function.evaluate(x, 0)[shuffled])
    assert torch.equal(function.evaluate(x[:7], 0), function.evaluate(x, 0)[:7])
    other_context = function.evaluate(x, 1) - truth
    function.reset(seed=2)
    other_seed = function.evaluate(x, 0) - truth
    for other in (other_context, other_seed):
        assert abs(float(torch.corrcoef(torch.stack((noise, other)))[0, 1])) < 4 / math.sqrt(4000)
    function.reset(seed=1)
    assert torch.equal(function.evaluate(x, 0) - truth, noise)


def test_noise_of_neighbouring_coordinate_queries_is_independent() -> None:
    function = make("Sphere", dim=5000, noise=1.0)
    function.reset(seed=0)
    base = torch.zeros(5000, dtype=torch.float64)
    batch = zotoolkit.CoordinateBatch(base=base, scale=torch.full_like(base, 1e-9), index=torch.arange(5000))
    noise = function.step(batch)[0]
    assert len(torch.unique(noise)) == 5000
    assert float(noise.std()) == pytest.approx(1.0, rel=0.05)
    assert abs(float((noise[1:] * noise[:-1]).mean())) < 4 / math.sqrt(5000)


@pytest.mark.parametrize("name", FORMULAE)
def test_start_points_are_seeded_inside_and_not_the_minimum(name: str) -> None:
    function = make(name, dim=6)
    first, _ = function.reset(seed=4)
    again, _ = function.reset(seed=4)
    other, _ = function.reset(seed=5)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert function.space.contains(first.numpy())
    assert function.noise_free(first[None])[0] > function.minimum + 1e-6


@pytest.mark.parametrize("name", FORMULAE)
def test_float32_points(name: str) -> None:
    function, exact = make(name, dim=5, dtype="float32"), make(name, dim=5)
    x, _ = function.reset(seed=1)
    assert x.dtype == torch.float32
    values = function.noise_free(x[None])
    assert values.dtype == torch.float64
    torch.testing.assert_close(values, exact.noise_free(x[None].double()), rtol=1e-4, atol=1e-2)


def test_dimensions_beyond_the_dense_rotation() -> None:
    function = make("Rastrigin", dim=100_000, instance=1, rotated=True, dtype="float32")
    value = function.noise_free(function.minimiser[None])
    assert float(value[0]) < 1e-3 * function.dim


@pytest.mark.parametrize("name", FORMULAE)
def test_ids_have_shifted_and_rotated_variants(name: str) -> None:
    shifted = zotoolkit.make(f"Functions/Shifted{name}-v0", dim=4)
    assert shifted.metadata["instance"] == 1
    assert not shifted.metadata["rotated"]
    if name == "Sphere":
        return
    rotated = zotoolkit.make(f"Functions/Rotated{name}-v0", dim=4, instance=9)
    assert rotated.metadata["instance"] == 9
    assert rotated.metadata["rotated"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"noise": -1.0}, "noise must be a finite number of at least 0, got -1.0"),
        ({"noise": math.nan}, "noise must be"),
        ({"noise": "loud"}, "noise must be"),
        ({"rotated": True}, "rotated=True needs an instance"),
        ({"instance": -1}, "instance must be an integer"),
        ({"instance": 1.5}, "instance must be an integer"),
    ],
)
def test_bad_settings_say_so(settings: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidSetting, match=words):
        make("Sphere", **settings)


def test_bad_dimensions_and_conditions_say_so() -> None:
    with pytest.raises(InvalidSpace, match="dim must be a positive integer, got 0"):
        Sphere(0)
    with pytest.raises(InvalidSetting, match="dim must be an integer of at least 2, got 1"):
        Rosenbrock(1)
    with pytest.raises(InvalidSetting, match="condition must be"):
        Ellipsoid(3, condition=0.0)
    with pytest.raises(InvalidSpace, match="dtype must be"):
        Sphere(3, dtype="int64")
    with pytest.raises(UnknownSetting, match="Did you mean 'instance'"):
        make("Sphere", instances=3)
