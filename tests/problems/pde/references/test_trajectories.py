"""Reference data of a user's own: what they must be, and what they are measured in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from problems.pde.references import References, Trajectories
from problems.pde.simulators import Burgers, KuramotoSivashinsky, from_step
from problems.pde.simulators.wake import WakeFlow, face_mask
from zotoolkit.errors import InvalidSetting, InvalidState, ReferencesMismatch


def some(count: int = 2, frames: int = 4, fields: tuple[int, ...] = (6,), columns: int = 1) -> Trajectories:
    generator = torch.Generator().manual_seed(count)
    states = torch.randn(count, frames, *fields, generator=generator)
    return Trajectories(states, 1 + torch.rand(count, columns, generator=generator))


def three(**changes: Any) -> References:
    fields, columns = changes.pop("fields", (6,)), changes.pop("columns", 1)
    parts = {"train": some(3, 4, fields, columns), "validation": some(1, 3, fields, columns)}
    parts["test"] = some(2, 5, fields, columns)
    return References(**{**parts, "dt": 0.5, **changes})


def test_what_they_say_of_themselves() -> None:
    references = three()
    assert (len(references.train), references.test.frames, references.fields) == (3, 5, (6,))
    assert "train 3 x 4, validation 1 x 3, test 2 x 5" in repr(references)
    double = references.to(torch.float64)
    assert double.train.states.dtype == double.test.params.dtype == torch.float64
    assert double.dt == references.dt
    assert references.to("cpu").fields == (6,)


def test_arrays_of_other_kinds() -> None:
    whole = Trajectories.of(np.arange(24).reshape(2, 3, 4), [[1], [2]])
    assert whole.states.dtype == whole.params.dtype == torch.float32
    assert whole.params.tolist() == [[1.0], [2.0]]
    assert Trajectories.of([[[1.0], [2.0]]]).params.shape == (1, 0)
    tensor = torch.rand(2, 3, 4)
    assert Trajectories.of(tensor).states is tensor


@pytest.mark.parametrize(
    ("states", "params", "words"),
    [
        (torch.zeros(2, 3), torch.zeros(2, 0), r"states must be \(N, T \+ 1, \*F\)"),
        (torch.zeros(0, 3, 4), torch.zeros(0, 0), "at least one trajectory"),
        (torch.zeros(2, 1, 4), torch.zeros(2, 0), "two frames"),
        (torch.zeros(2, 3, 4, dtype=torch.float16), torch.zeros(2, 0), "float32 or float64"),
        (np.zeros((2, 3, 4)), torch.zeros(2, 0), "got an array"),
        (torch.zeros(2, 3, 4), torch.zeros(3, 1), r"params must be \(2, k\)"),
        (torch.zeros(2, 3, 4), torch.zeros(2), r"params must be \(2, k\)"),
        (torch.zeros(2, 3, 4), torch.zeros(2, 1, dtype=torch.float64), "of the states' dtype"),
        (torch.full((2, 3, 4), torch.inf), torch.zeros(2, 0), r"trajectories \[0, 1\] are not"),
        (torch.zeros(2, 3, 4), torch.tensor([[1.0], [torch.nan]]), r"params must be finite; trajectories \[1\]"),
    ],
)
def test_bad_trajectories(states: Any, params: Any, words: str) -> None:
    with pytest.raises(InvalidState, match=words):
        Trajectories(states, params)


@pytest.mark.parametrize("states", ["abc", None, [["a"]], [[1.0], [1.0, 2.0]], 3])
def test_what_is_no_array(states: Any) -> None:
    with pytest.raises(InvalidState, match=r"states must be"):
        Trajectories.of(states)


def test_numbers_whose_sum_overflows_are_finite() -> None:
    huge = torch.full((1, 2, 4), 3e38)
    assert Trajectories(huge, torch.zeros(1, 0)).states is huge


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"test": some(2, 4, (7,))}, "must have the same fields: train has .6,., test .7,."),
        ({"validation": some(2, 4, (6,), 2)}, "must have the same columns"),
        ({"test": some().to(torch.float64)}, "must have the same dtype"),
        ({"test": torch.zeros(2, 3, 6)}, "test must be Trajectories"),
        ({"layout": "staggered"}, "v_y first"),
    ],
)
def test_splits_that_do_not_fit(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidState, match=words):
        three(**changes)


def test_bad_settings() -> None:
    with pytest.raises(InvalidSetting, match="dt must be"):
        three(dt=0.0)
    with pytest.raises(InvalidSetting, match="Did you mean 'staggered'"):
        three(layout="stagered")


@given(st.integers(1, 5), st.integers(2, 6), st.floats(0.1, 100), st.floats(-3, 3))
def test_the_scale_of_points(count: int, frames: int, factor: float, mean: float) -> None:
    states = factor * torch.randn(count, frames, 8, generator=torch.Generator().manual_seed(frames)) + mean
    split = Trajectories(states, torch.zeros(count, 0))
    assert References(split, split, split, 1.0).scale == pytest.approx(float(np.std(states.numpy())), rel=1e-4)


def test_the_scale_of_staggered_velocities_knows_faces_from_other_places() -> None:
    split = some(2, 3, (2, 5, 4))
    references = References(split, split, split, 1.0, layout="staggered")
    down, across = split.states[..., 0, :, :-1], split.states[..., 1, :-1, :]
    faces = torch.cat((down.flatten(), across.flatten())).abs()
    assert references.scale == pytest.approx(float(faces.std(correction=0)))
    assert faces.numel() == 6 * int(face_mask((2, 5, 4)).sum())
    beyond = split.states.clone()
    beyond[..., 0, :, -1] = beyond[..., 1, -1, :] = 1e6
    again = References(Trajectories(beyond, split.params), split, split, 1.0, layout="staggered")
    assert again.scale == references.scale


def test_what_does_not_vary_has_scale_1() -> None:
    same = Trajectories(torch.full((2, 3, 4), 5.0), torch.tensor([[1.0, 3.0], [1.0, 5.0]]))
    references = References(same, same, same, 1.0)
    assert references.scale == 1.0
    assert references.params_scale.tolist() == [1.0, 1.0]
    varied = Trajectories(torch.zeros(3, 2, 4), torch.tensor([[2.0], [2.0], [5.0]]))
    assert float(References(varied, varied, varied, 1.0).params_scale) == pytest.approx(np.std([2.0, 2.0, 5.0]))


def test_reference_data_of_the_simulator_pass() -> None:
    three(fields=(48,), columns=0).check(KuramotoSivashinsky())
    three(fields=(64,), dt=0.025).check(Burgers())
    three(fields=(2, 33, 17), dt=1.0, layout="staggered").check(WakeFlow(16))
    three(columns=0).check(from_step(lambda state: state, fields=(6,)))  # has no dt to compare
    three(fields=(48,), columns=0, settings={"physics": {"length": 60}}).check(KuramotoSivashinsky())


@pytest.mark.parametrize(
    ("references", "words"),
    [
        (three(fields=(64,), columns=0), r"states of shape \(64,\), KuramotoSivashinsky takes \(48,\)"),
        (three(fields=(48,), columns=2), "have 2 parameters, KuramotoSivashinsky takes none"),
        (three(fields=(48,), columns=0, dt=0.25), "are of dt=0.25, KuramotoSivashinsky has dt=0.5"),
        (
            three(fields=(48,), columns=0, settings={"physics": {"length": 22.0}}),
            "are of length=22.0, KuramotoSivashinsky has length=60.0",
        ),
    ],
)
def test_reference_data_of_other_settings_are_refused(references: References, words: str) -> None:
    with pytest.raises(ReferencesMismatch, match=words):
        references.check(KuramotoSivashinsky())


def test_parameters_that_are_missing() -> None:
    with pytest.raises(ReferencesMismatch, match="have no parameters, Burgers takes viscosity"):
        three(fields=(64,), columns=0, dt=0.025).check(Burgers())


def test_a_time_is_neither_measured_nor_a_scale() -> None:
    states = torch.randn(3, 4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    states[:, :, 2] = 1e3 * torch.arange(4)[:, None, None]
    split = Trajectories.of(states)
    references = References(split, split, split, 1.0, layout="timed")
    assert references.scale == pytest.approx(float(states[:, :, :2].std(correction=0)), rel=1e-5)
    where = references.where
    assert where is not None
    assert bool(where[:2].all())
    assert not bool(where[2].any())
    assert three().where is None


def test_a_marker_is_measured_and_no_scale() -> None:
    states = torch.randn(3, 4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    states[:, :, 2] *= 1e3
    split = Trajectories.of(states)
    references = References(split, split, split, 1.0, layout="marked")
    velocities = Trajectories.of(states[:, :, :2])
    assert references.scale == References(velocities, velocities, velocities, 1.0, layout="staggered").scale
    where = references.where
    assert where is not None
    assert where.sum((1, 2)).tolist() == [20, 20, 16]
    assert torch.equal(where[:2], face_mask((2, 5, 5)))


@pytest.mark.parametrize(
    ("layout", "fields", "words"),
    [
        ("timed", (6,), "two fields or more"),
        ("timed", (1, 5), "two fields or more"),
        ("marked", (6,), "two fields or more"),
        ("marked", (2, 5, 5), "a marker are"),
        ("marked", (3, 5), "v_y first"),
        ("marked", (3, 1, 5), "v_y first"),
    ],
)
def test_states_that_do_not_have_their_layout(layout: Any, fields: tuple[int, ...], words: str) -> None:
    with pytest.raises(InvalidState, match=words):
        three(fields=fields, layout=layout)
