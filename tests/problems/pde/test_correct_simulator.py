"""The objective: what it answers, what it counts, what it refuses."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import zotoolkit
from problems.pde import Additive, CorrectSimulator, Measures, References, Trajectories
from problems.pde.simulators import Burgers, Simulator, from_step
from problems.pde.simulators.wake import WakeFlow
from tests.problems.pde import small
from zotoolkit.errors import InvalidSetting, InvalidState, ReferencesMismatch
from zotoolkit.estimators import CGE
from zotoolkit.inner import InnerBatch
from zotoolkit.queries import CoordinateBatch, DenseBatch, SeededBatch
from zotoolkit.seeding import derive_seeds
from zotoolkit.status import Status
from zotoolkit.testing import ObjectiveConformance

# Candidates far from any good corrector make states that the coarse step cannot follow.
pytestmark = pytest.mark.filterwarnings("ignore::zotoolkit.errors.CFLWarning")


class TestBurgersInDoublePrecision(ObjectiveConformance):
    tolerance = 1e-9

    def make_objective(self) -> CorrectSimulator:
        return small.burgers()


class TestBurgersInSinglePrecision(ObjectiveConformance):
    def make_objective(self) -> CorrectSimulator:
        return small.burgers(torch.float32)


class TestWakeFlow(ObjectiveConformance):
    def make_objective(self) -> CorrectSimulator:
        return small.wake(torch.float32)


class TestACurriculumWithoutATruth(ObjectiveConformance):
    def make_objective(self) -> CorrectSimulator:
        return small.burgers(unroll=((0, 1), (3, 4)), evaluation_windows=2)


class TestABlackBox(ObjectiveConformance):
    """A NumPy function of one state at a time, that nobody can differentiate."""

    def make_objective(self) -> CorrectSimulator:
        return small.burgers(simulator=black_box())


def black_box() -> Simulator:
    burgers = Burgers(points=small.POINTS, dt=small.DT)

    def step(state: Tensor, params: Tensor) -> Tensor:
        return burgers.step(state[None], params[None])[0]

    return from_step(step, fields=(small.POINTS,), parameters=["viscosity"], batched=False)


@pytest.mark.parametrize("make", [small.burgers, small.wake])
@pytest.mark.parametrize("difference", ["forward", "central"])
def test_coordinate_queries_give_autograds_gradient(make: Any, difference: Any) -> None:
    objective = make()
    x0, _ = objective.reset(seed=3)
    bounds = zotoolkit.spaces.bounds_of(objective.space, "cpu")
    estimator = CGE(1e-6, difference)
    batch = estimator.queries(x0, None, 4, 0, bounds)
    values, *_ = objective.step(batch)
    found = estimator.gradient(batch, values, torch.isfinite(values)).gradient
    _, wanted = objective.gradient(x0, 4)
    assert torch.nn.functional.cosine_similarity(found, wanted, dim=0) > 1 - 1e-6


@pytest.mark.parametrize("difference", ["forward", "central"])
def test_the_default_mu_fits_single_precision(difference: Any) -> None:
    """Near the start the cosine to autograd is close to 1 at the default mu, and far from it at a hundredth."""
    objective = small.burgers(torch.float32)
    x0, _ = objective.reset(seed=0)
    bounds = zotoolkit.spaces.bounds_of(objective.space, "cpu")
    _, wanted = objective.gradient(x0, 0)

    def cosine(mu: float) -> float:
        estimator = CGE(mu, difference)
        batch = estimator.queries(x0, None, 0, 0, bounds)
        values, *_ = objective.step(batch)
        found = estimator.gradient(batch, values, torch.isfinite(values)).gradient
        return float(torch.nn.functional.cosine_similarity(found.float(), wanted, dim=0))

    assert cosine(objective.fitting_mu(difference)) > 0.999


def test_mu_follows_the_simulators_tolerance() -> None:
    exact, coarse = small.burgers(torch.float32), small.burgers(torch.float32, simulator=tolerant(1e-4))
    for difference in ("forward", "central"):
        assert coarse.fitting_mu(difference) > 5 * exact.fitting_mu(difference)
    assert small.burgers().fitting_mu("forward") < 1e-3 * exact.fitting_mu("forward")


def tolerant(tol: float) -> Simulator:
    burgers = Burgers(points=small.POINTS, dt=small.DT)
    return from_step(burgers.step, fields=(small.POINTS,), parameters=["viscosity"], tol=tol)


def test_state_steps_are_counted_as_they_are_taken() -> None:
    """The step that windows begin with is one for all queries of a context; the simulator counts the same."""
    objective = small.burgers(unroll=4, windows=3)
    x0, _ = objective.reset(seed=0)
    index = torch.arange(5)
    batch = CoordinateBatch(base=x0, scale=torch.full((5,), 1e-3, dtype=x0.dtype), context=0, index=index)
    before = objective.simulator.state_steps
    *_, info = objective.step(batch)
    assert info["costs"] == {"forward_equivalents": 5.0, "state_steps": 3.0 + 5 * 3 * 3}
    *_, info = objective.step(batch)
    assert info["costs"]["state_steps"] == 5 * 3 * 3
    objective.step(DenseBatch.at(x0[None], context=1))
    assert objective.state_steps == objective.simulator.state_steps - before == 48 + 45 + 12
    assert objective.costs_spent["state_steps"] == 105


@pytest.mark.parametrize(
    ("place", "differences", "steps"),
    [("one-step", None, 12), ("detached", None, 12), ("simulator", None, 12), ("state", CGE(1e-4), 12 + 16 * 9)],
)
def test_gradients_at_inner_places_are_paid_for(place: str, differences: Any, steps: int) -> None:
    objective = small.burgers(unroll=4, windows=3)
    x0, _ = objective.reset(seed=0)
    count = objective.inner_queries(place, differences)
    assert count == (1 if differences is None else small.POINTS + 1)
    batch = InnerBatch(base=x0, scale=x0.new_zeros(count), context=0, place=place, differences=differences)
    before = objective.simulator.state_steps
    values, *_, info = objective.step(batch)
    assert values.isfinite().all()
    assert info["costs"]["state_steps"] == steps == objective.simulator.state_steps - before
    assert "gradient" in info
    assert info["gradient"].abs().sum() > 0


def test_a_state_step_budget_is_never_overspent() -> None:
    objective = small.burgers(unroll=4, windows=3, state_step_budget=3 + 2 * 9)
    x0, _ = objective.reset(seed=0)
    objective.limit_chunk(1)
    values, terminated, truncated, info = objective.step(DenseBatch.at(x0.repeat(4, 1)))
    assert values.isfinite().tolist() == [True, True, False, False]
    assert info["status"].tolist() == [Status.OK, Status.OK, Status.SKIPPED, Status.SKIPPED]
    assert (terminated, truncated) == (False, True)
    assert objective.state_steps == 21
    inner = InnerBatch(base=x0, scale=x0.new_zeros(1), context=1, place="one-step", differences=None)
    *_, truncated, info = objective.step(inner)
    assert truncated
    assert objective.state_steps == 21
    objective.reset(seed=0)
    values, *_ = objective.step(DenseBatch.at(x0[None]))
    assert values.isfinite().all()


def test_a_run_goes_on_where_it_stopped(tmp_path: Any) -> None:
    """Bit for bit, and with the same state-steps."""

    def run(budget: int, **more: Any) -> zotoolkit.Result:
        solver = zotoolkit.make_solver("PDE/ZO-SOL-v0", lr=1e-2, iterations=6)
        return zotoolkit.minimize(small.burgers(), solver, budget=budget, progress=False, **more)

    whole = run(1000)

    part = small.burgers()
    answer, asked = part.evaluate_coordinates, []

    def interrupted(batch: CoordinateBatch) -> Tensor:
        asked.append(batch.context)
        if batch.context == 3:
            raise KeyboardInterrupt
        return answer(batch)

    part.evaluate_coordinates = interrupted  # type: ignore[method-assign]
    solver = zotoolkit.make_solver("PDE/ZO-SOL-v0", lr=1e-2, iterations=6)
    with pytest.raises(KeyboardInterrupt):
        zotoolkit.minimize(part, solver, budget=1000, progress=False, checkpoint=tmp_path)
    assert asked
    again = run(1000, checkpoint=tmp_path, resume=True)
    assert torch.equal(again.x, whole.x)
    assert again.costs == whole.costs


def test_a_candidate_that_blows_up_is_not_finite() -> None:
    objective = small.burgers()
    x0, _ = objective.reset(seed=0)
    values, *_, info = objective.step(DenseBatch.at(torch.stack((x0, 1e200 * torch.ones_like(x0), x0))))
    assert info["status"].tolist() == [Status.OK, Status.NON_FINITE, Status.OK]
    assert values[0] == values[2]


@pytest.mark.parametrize(
    ("place", "differences"), [("one-step", None), ("detached", None), ("simulator", None), ("state", CGE(1e-4))]
)
def test_a_gradient_at_a_point_that_blows_up_is_not_finite(place: str, differences: Any) -> None:
    """The run goes on: nothing is raised, and the gradient is 0."""
    objective = small.burgers()
    x0, _ = objective.reset(seed=0)
    count = objective.inner_queries(place, differences)
    far = 1e200 * torch.ones_like(x0)
    batch = InnerBatch(base=far, scale=x0.new_zeros(count), context=0, place=place, differences=differences)
    values, *_, info = objective.step(batch)
    assert values.isnan().all()
    assert set(info["status"].tolist()) == {Status.NON_FINITE}
    assert "gradient" in info
    assert not info["gradient"].any()


def test_a_simulator_that_raises_fails_its_query_alone() -> None:
    """One candidate's states make it raise; the others keep their answer."""
    burgers = Burgers(points=small.POINTS, dt=small.DT)

    def step(state: Tensor, params: Tensor) -> Tensor:
        if float(state.abs().max()) > 50:
            raise RuntimeError("the mesh is torn")
        return burgers.step(state, params)

    objective = small.burgers(simulator=from_step(step, fields=(small.POINTS,), parameters=["viscosity"]))
    x0, _ = objective.reset(seed=0)
    values, *_, info = objective.step(DenseBatch.at(torch.stack((x0, 1e3 * torch.ones_like(x0), x0))))
    assert info["status"].tolist() == [Status.OK, Status.FAILED, Status.OK]
    assert "the mesh is torn" in info["errors"][1]
    assert values[[0, 2]].isfinite().all()


def test_the_seed_decides_network_and_windows() -> None:
    objective, other = small.burgers(), small.burgers()
    first, _ = objective.reset(seed=1)
    second, _ = other.reset(seed=1)
    assert torch.equal(first, second)
    assert not torch.equal(objective.reset(seed=2)[0], first)
    assert torch.equal(objective.reset(seed=1)[0], first)
    state = torch.get_rng_state()
    objective.reset(seed=5)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_network_of_ones_own_and_a_coupling_of_ones_own() -> None:
    class Tail:
        """Sees the whole state, corrects its last half."""

        def inputs(self, state: Tensor, params: Tensor) -> Tensor:
            return torch.cat((state, params), dim=-1)

        def add(self, state: Tensor, output: Tensor) -> Tensor:
            return state + nn.functional.pad(output, (small.POINTS // 2, 0))

    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(small.POINTS + 1, 3), nn.Tanh(), nn.Linear(3, small.POINTS // 2)).double()

    simulator = Burgers(points=small.POINTS, dt=small.DT)
    settings: dict[str, Any] = {"unroll": 2, "windows": 2, "measures": Measures(steps=(2,))}
    objective = CorrectSimulator(simulator, small.references(), build, coupling=Tail(), **settings)
    result = zotoolkit.minimize(objective, zotoolkit.make_solver("PDE/ZO-SOL-v0"), budget=900, progress=False)
    start = objective.noise_free(objective.reset(seed=0)[0][None])
    assert start is not None
    assert result.value < float(start)


_WAKE = WakeFlow(16)
_FLAT = Trajectories(torch.zeros(2, 6, small.POINTS, dtype=torch.float64), torch.ones(2, 1, dtype=torch.float64))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"simulator": "burgers"}, InvalidSetting, "simulator must be a Simulator"),
        ({"references": [1]}, InvalidSetting, "references must be References"),
        ({"simulator": _WAKE}, ReferencesMismatch, "states of shape"),
        ({"simulator": Burgers(points=small.POINTS, dt=0.1)}, ReferencesMismatch, "dt=0.2"),
        ({"corrector": nn.Linear(2, 2)}, InvalidSetting, "lambda: copy.deepcopy"),
        ({"corrector": lambda: 3}, InvalidSetting, "must return a torch.nn.Module"),
        ({"corrector": lambda: nn.Linear(small.POINTS, 3).double()}, InvalidState, "must return what a state is"),
        ({"coupling": 3}, InvalidSetting, "coupling must have `inputs` and `add`"),
        ({"unroll": 12}, InvalidSetting, "frames"),
        ({"windows": 0}, InvalidSetting, "windows"),
        ({"state_step_budget": 0}, InvalidSetting, "state_step_budget"),
        ({"evaluation_windows": -1}, InvalidSetting, "evaluation_windows"),
        ({"measures": Measures(steps=(50,))}, InvalidSetting, "50 steps need 51 frames; the test data have 12"),
        ({"device": "nowhere"}, InvalidSetting, "device"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], error: type[Exception], message: str) -> None:
    given: dict[str, Any] = {
        "simulator": Burgers(points=small.POINTS, dt=small.DT),
        "references": small.references(),
        "corrector": lambda: small.network().double(),
        "measures": Measures(steps=(2,)),
        **settings,
    }
    with pytest.raises(error, match=message):
        CorrectSimulator(given.pop("simulator"), given.pop("references"), given.pop("corrector"), **given)


def test_a_black_box_has_no_gradient_through_it() -> None:
    objective = small.burgers(simulator=black_box())
    x0, _ = objective.reset(seed=0)
    assert list(objective.inner_places) == ["one-step", "detached", "state"]
    with pytest.raises(InvalidSetting, match="place must be"):
        objective.gradient(x0, 0)
    with pytest.raises(InvalidSetting, match="at 'state' there is a CGE or an RGE"):
        objective.inner_queries("one-step", CGE(1e-3))
    with pytest.raises(InvalidSetting, match="at 'state' there is a CGE or an RGE"):
        objective.inner_queries("state", None)


def test_seeded_queries_agree_with_their_points() -> None:
    objective = small.wake(torch.float32)
    x0, _ = objective.reset(seed=0)
    seeds = derive_seeds(0, 0, 4, x0.device)
    batch = SeededBatch(base=x0, scale=torch.full((4,), 1e-2), context=0, seed=seeds, law="normal")
    values, *_ = objective.step(batch)
    dense, *_ = objective.step(DenseBatch.at(batch.points()))
    assert torch.allclose(values, dense, rtol=1e-5)


def test_everything_that_is_made_is_closed() -> None:
    closed = []

    class Closing(Burgers):
        def close(self) -> None:
            closed.append(True)

    with small.burgers(simulator=Closing(points=small.POINTS, dt=small.DT)) as objective:
        objective.reset(seed=0)
    assert closed == [True]


def test_flat_references_have_a_scale() -> None:
    references = References(_FLAT, _FLAT, _FLAT, dt=small.DT)
    coupling = Additive(references.scale)
    assert references.scale == 1.0
    assert copy.copy(coupling).scale == 1.0
