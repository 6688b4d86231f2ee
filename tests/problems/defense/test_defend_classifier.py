from __future__ import annotations

import copy
import functools
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

import zotoolkit
from problems.defense import DefendClassifier, Defense, DefenseImages, Front
from problems.defense.recipes import zo_ae_ds
from tests.problems.defense import small
from zotoolkit import CGE, RGE, CoordinateBatch, PartialFailure, Reason, Status, wrappers
from zotoolkit.errors import (
    BudgetSpent,
    CheckpointMismatch,
    DriftDetected,
    InvalidAnswers,
    InvalidSetting,
    MetricsWarning,
    ObjectiveFailed,
    RadiusWarning,
)
from zotoolkit.inner import InnerBatch
from zotoolkit.query_models import InputSpec, QueryBudget
from zotoolkit.solvers.inner_gradient import InnerGradientSolver
from zotoolkit.testing import ObjectiveConformance

CENTRAL = CGE(mu=1e-2, difference="central")
ADAM = functools.partial(torch.optim.Adam, lr=0.01)


@pytest.mark.filterwarnings("ignore:the loss depends on the context but noise_free returns None")
class TestConformance(ObjectiveConformance):
    # A loss free of noise would take queries, and reports must not.
    def make_objective(self) -> DefendClassifier:
        return small.objective()


def inner(made: DefendClassifier, place: str, differences: Any, *, context: int = 2, seed: int = 3) -> InnerBatch:
    x0 = made.start()
    scale = x0.new_zeros(made.inner_queries(place, differences))
    return InnerBatch(base=x0, scale=scale, context=context, place=place, differences=differences, seed=seed)


def estimate(made: DefendClassifier, place: str, differences: Any, **more: Any) -> tuple[float, Tensor]:
    values, _, _, info = made.step(inner(made, place, differences, **more))
    gradient = info.get("gradient")
    assert gradient is not None
    return float(values[0]), gradient


def exact(made: DefendClassifier, access: str = "logits", weight: float = 0.0) -> tuple[float, Tensor]:
    """Loss and gradient written out, of a copy of the classifier."""
    noisy, labels, clean = made.minibatch(2)
    x = made.start().requires_grad_()
    front = copy.deepcopy(made.defense.front).train()
    shown = made.defense.image(functional_call(front, made.layout.unflatten(x), (noisy,)))
    logits = small.classifier()(shown)
    if access == "proba":
        loss = -torch.log(logits.softmax(1).gather(1, labels[:, None]).clamp(min=1e-2)).mean()
    else:
        loss = functional.cross_entropy(logits, labels)
    loss = loss + weight * ((shown - clean) ** 2).mean()
    return float(loss.detach()), torch.autograd.grad(loss, x)[0]


def cosine(a: Tensor, b: Tensor) -> float:
    return float(functional.cosine_similarity(a.double(), b.double(), dim=0))


# Gradients ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [0.0, 3.0])
@pytest.mark.parametrize(
    ("place", "latent", "access"),
    [("latent", True, "logits"), ("output", True, "logits"), ("output", False, "proba"), ("latent", True, "proba")],
)
def test_queries_at_an_interface_find_the_gradient(place: str, latent: bool, access: str, weight: float) -> None:
    made = small.objective(small.model(access), latent=latent, mse_weight=weight)
    loss, gradient = exact(made, access, weight)
    told, found = estimate(made, place, CENTRAL)
    assert cosine(found, gradient) > 0.999
    assert float(found.norm() / gradient.norm()) == pytest.approx(1, abs=0.01)
    assert told == pytest.approx(loss, rel=1e-3)  # central values are smoothed a little


@pytest.mark.parametrize("access", ["logits", "proba"])
@pytest.mark.parametrize("latent", [True, False])
def test_back_propagation_finds_it_too(access: str, latent: bool) -> None:
    made = small.objective(small.white(access), latent=latent, mse_weight=0.5)
    loss, gradient = exact(made, access, 0.5)
    told, found = estimate(made, "classifier", None)
    assert cosine(found, gradient) > 0.9999
    assert told == pytest.approx(loss, rel=1e-5)
    assert made.model.ledger.of("training").sent == 24  # own labels: nothing else is sent
    assert made.costs_spent["images"] == 0


def test_back_propagation_passes_rounding_and_leaves_the_classifier_alone() -> None:
    asked = small.white(input=InputSpec((1, 4, 4), levels=4))
    assert isinstance(asked.module, nn.Sequential)
    asked.module.append(nn.BatchNorm1d(small.CLASSES, affine=False))
    asked.module.train()
    before = copy.deepcopy(asked.module.state_dict())
    made = small.objective(asked)
    loss, gradient = estimate(made, "classifier", None)
    assert float(gradient.norm()) > 0
    assert loss == pytest.approx(float(made.step(zotoolkit.DenseBatch.at(made.start()[None], 2))[0]), rel=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in asked.module.state_dict().items())
    assert asked.module.training
    assert all(parameter.grad is None for parameter in asked.module.parameters())


@pytest.mark.parametrize("latent", [True, False])
def test_parameter_queries_find_it_too(latent: bool) -> None:
    made = small.objective(latent=latent, mse_weight=0.5)
    loss, gradient = exact(made, weight=0.5)
    bounds = zotoolkit.spaces.bounds_of(made.space)
    batch = CGE(mu=3e-3, difference="central").queries(made.start(), None, 2, 0, bounds)
    values = made.step(batch)[0]
    found = CGE(mu=3e-3, difference="central").gradient(batch, values, torch.isfinite(values))
    assert cosine(found.gradient, gradient) > 0.999
    assert found.loss == pytest.approx(loss, rel=1e-3)
    assert float(made.step(zotoolkit.DenseBatch.at(made.start()[None], 2))[0]) == pytest.approx(loss, rel=1e-5)


def test_random_directions_point_the_same_way() -> None:
    made = small.objective()
    _, gradient = exact(made)
    _, found = estimate(made, "latent", RGE(mu=1e-2, q=64, difference="central"))
    assert cosine(found, gradient) > 0.9


def test_forward_differences_ask_for_the_value() -> None:
    made = small.objective()
    loss, gradient = exact(made)
    told, found = estimate(made, "latent", CGE(mu=1e-3))
    assert made.queries == small.LATENT + 1
    assert told == pytest.approx(loss, rel=1e-5)
    assert cosine(found, gradient) > 0.99


def test_labels_only_learn_from_steps_that_fit() -> None:
    made = small.objective(small.model("label"))
    assert made.loss == "zero-one"
    mu = made.inner_mu("latent")
    with torch.no_grad():
        assert mu == pytest.approx(0.15 * float(made.defense.front(made.minibatch(0)[0]).std(correction=0)), rel=1e-4)
    assert small.objective().inner_mu("latent") == 0.005
    loss, _ = estimate(made, "latent", RGE(mu=mu, q=16, difference="central"))
    assert 0 <= loss <= 1


# What an objective promises -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["latent", "output"])
def test_it_is_a_pure_function_and_queries_leave_no_trace(place: str) -> None:
    made = small.objective()
    differences = RGE(mu=0.05, q=3, difference="central")
    before = copy.deepcopy(made.defense.state_dict())
    state = torch.get_rng_state()
    first = estimate(made, place, differences)
    other = estimate(made, place, differences, context=3)
    made.evaluate(made.start()[None], 5)
    again = estimate(made, place, differences)
    assert first[0] == again[0]
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[1], other[1])
    assert not torch.equal(first[1], estimate(made, place, differences, seed=4)[1])
    assert torch.equal(torch.get_rng_state(), state)
    # Batch norms in training mode have kept their statistics.
    assert all(torch.equal(value, before[name]) for name, value in made.defense.state_dict().items())
    twin = small.objective()
    assert torch.equal(estimate(twin, place, differences)[1], first[1])
    made.reset(seed=1)
    assert not torch.equal(estimate(made, place, differences)[1], first[1])


def test_random_layers_belong_to_seed_and_context() -> None:
    made = small.objective(build=lambda seed: small.built(seed, middle=nn.Dropout(0.5)))
    state = torch.get_rng_state()
    first, again = estimate(made, "latent", CENTRAL), estimate(made, "latent", CENTRAL)
    assert torch.equal(first[1], again[1])
    assert torch.equal(torch.get_rng_state(), state)
    points = made.start()[None]
    assert torch.equal(made.evaluate(points, 2), made.evaluate(points, 2))
    assert not torch.equal(made.evaluate(points, 2), made.evaluate(points, 2 + made.metadata["batches_per_epoch"]))


def test_every_image_is_counted() -> None:
    made = small.objective()
    made.step(inner(made, "latent", CENTRAL))
    made.step(CoordinateBatch(base=made.start(), scale=torch.full((5,), 0.1), index=torch.arange(5), context=1))
    assert made.queries == 2 * small.LATENT + 5
    assert made.costs_spent["images"] == made.queries * small.BATCH
    ledger = made.model.ledger
    assert ledger.of("training").sent == made.queries * small.BATCH + 24  # and the own labels of the clean images
    assert ledger.of("drift").sent == 16
    assert small.objective(labels="true").inner_queries("output", RGE(q=3, difference="central")) == 6


def test_labels_are_the_classifiers_own_or_the_true_ones() -> None:
    own, true = small.objective(), small.objective(labels="true")
    noisy, labels, clean = own.minibatch(1)
    with torch.no_grad():
        assert torch.equal(labels, small.classifier()(clean).argmax(1))
    again, theirs, same = true.minibatch(1)
    assert torch.equal(noisy, again)
    assert torch.equal(clean, same)
    rows = [int((true.images.train == image).flatten(1).all(1).nonzero()[0]) for image in clean]
    assert torch.equal(theirs, true.images.train_labels[rows])
    assert float((noisy - clean).std()) == pytest.approx(0.5, rel=0.2)
    assert true.model.ledger.of("training").sent == 0


def test_a_clean_image_without_an_answer_keeps_its_true_label() -> None:
    network = small.classifier()

    def answer(x: Tensor) -> Tensor:
        with torch.no_grad():
            logits = network(x)
        if len(x) == 24:
            logits[:] = torch.nan
        return logits

    made = small.objective(small.of_function(answer, patience=1000), batch_size=24)
    assert torch.equal(made.minibatch(0)[1], made.images.train_labels)


def test_evaluation_uses_statistics_of_noisy_images() -> None:
    made = small.objective()
    defense = made.defended(made.start())
    noisy = torch.cat([made.minibatch(context)[0] for context in range(16)])
    norm = defense.front.denoiser[1]  # type: ignore[index]
    with torch.no_grad():
        mean = defense.front.denoiser[0](noisy).mean((0, 2, 3))  # type: ignore[index]
    torch.testing.assert_close(norm.running_mean, mean, rtol=1e-4, atol=1e-5)
    assert not defense.training
    assert made.model.ledger.of("training").sent == 24


# Runs -----------------------------------------------------------------------------------------------------------------


def test_training_certifies_at_the_end() -> None:
    made = small.objective(measures=small.measures(baselines=True))
    result = zotoolkit.minimize(made, zo_ae_ds(lr=0.01, q=2, iterations=5), budget=21, progress=False)
    assert (result.reason, result.queries) == (Reason.BUDGET_SPENT, 21)
    for way in ("certified", "undefended", "untrained", "denoised"):
        assert result.metrics[f"{way}_0"] >= result.metrics[f"{way}_0.25"] >= result.metrics[f"{way}_0.5"] >= 0
    assert 0 <= result.metrics["clean_accuracy"] <= 1
    assert made.metrics(result.x) == made.metrics(result.x)


def test_a_killed_run_is_resumed_to_the_bit(tmp_path: Path) -> None:
    script = Path(__file__).with_name("killed_training.py")
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["killed", "True", "equal", "True", "sent", "True"], done.stdout + done.stderr


def test_a_checkpoint_of_other_images_is_refused() -> None:
    made, other = small.objective(), small.objective(images=small.images(train=30))
    made.minibatch(0)
    with pytest.raises(CheckpointMismatch, match="24 training images, there are 30"):
        other.load_state_dict(made.state_dict())


def test_a_resumed_run_asks_nothing_twice() -> None:
    made, other = small.objective(), small.objective()
    made.minibatch(0)
    other.load_state_dict(made.state_dict())
    assert torch.equal(other.minibatch(4)[1], made.minibatch(4)[1])
    assert other.model.ledger.sent == 24 + 16


# Budgets --------------------------------------------------------------------------------------------------------------

NEEDS = 3 * 70 + 32  # certification of three images and two drift probes


@pytest.mark.parametrize("reserved", [{}, {"certification": 210, "drift": 32}])
@pytest.mark.parametrize("solver", ["inner", "parameters"])
def test_a_budget_that_ends_leaves_certification_alone(reserved: dict[str, int], solver: str) -> None:
    budget = QueryBudget(NEEDS + 24 + 500, reserved)
    made = small.objective(small.model(budget=budget))
    mine = (
        InnerGradientSolver("latent", CENTRAL, ADAM)
        if solver == "inner"
        else zotoolkit.make_solver("ZO/SGD-RGE-v0", q=7, lr=1e-3)
    )
    result = zotoolkit.minimize(made, mine, budget=1_000, progress=False)
    assert result.reason is Reason.BUDGET_SPENT
    # A batch of 8 queries of 8 images goes whole or not at all; what is left pays for the loss of what came of it.
    assert result.queries == (500 // 64) * 8 + 1
    assert math.isfinite(result.value)
    assert made.model.ledger.of("training").sent == 24 + result.queries * 8 <= 24 + 500
    assert "certified_0.25" in result.metrics
    assert budget.spent["drift"] == 32
    assert torch.isnan(torch.tensor(made.metrics(result.x)["clean_accuracy"])) == (
        budget.shortfall({"evaluation": 6, "certification": 210, "drift": 32}) > 0
    )


def test_a_budget_that_cannot_cover_certification_is_told_before_anything_is_sent() -> None:
    for total, words in ((NEEDS + 23, "1 images short"), (10, "images short")):
        asked = small.model(budget=QueryBudget(total))
        with pytest.raises(BudgetSpent, match=words):
            small.objective(asked)
        assert asked.ledger.sent == 0
    small.objective(small.model(budget=QueryBudget(NEEDS + 24)))
    small.objective(small.model(budget=QueryBudget(NEEDS)), labels="true")


# Failures -------------------------------------------------------------------------------------------------------------


def flawed(access: str, share: int = 7) -> Any:
    """A classifier that fails about one image in `share`, by what the image holds."""
    good = small.model(access)

    def answer(x: Tensor) -> Any:
        values = good.ask(x).labels if access == "label" else good.scores(x)
        bad = (x.flatten(1).sum(1) * 1e4).long() % share == 0
        if access == "label":
            raise PartialFailure(values, dict.fromkeys(bad.nonzero()[:, 0].tolist(), "lost"))
        values[bad] = torch.nan
        return values

    return small.of_function(answer, access)


@pytest.mark.parametrize("access", ["logits", "proba", "label"])
def test_some_failures_cost_their_own_differences_alone(access: str) -> None:
    made = small.objective(flawed(access))
    values, _, _, info = made.step(inner(made, "latent", RGE(mu=0.3, q=8, difference="central")))
    assert info["status"].tolist() == [Status.OK] * 16
    figures = info.get("figures")
    assert figures is not None
    assert 0 < figures["dropped"] < 8 * 8
    assert bool(torch.isfinite(values).all())
    # A candidate whose mean would be over other samples than its neighbours' is lost.
    losses = made.evaluate(made.start().repeat(6, 1) + 0.1 * torch.arange(6.0)[:, None], 1)
    assert bool(losses.isnan().any())


def test_exceptions_cost_the_images_that_raise() -> None:
    good = small.model()

    def answer(x: Tensor) -> Tensor:
        if bool(((x.flatten(1).sum(1) * 1e4).long() % 40 == 0).any()):
            raise TimeoutError("no answer in 5 s")
        return good.scores(x)

    made = small.objective(small.of_function(answer, patience=10_000))
    info = made.step(inner(made, "latent", RGE(mu=0.3, q=8, difference="central")))[3]
    figures = info.get("figures")
    assert figures is not None
    assert 0 < figures["dropped"] < 64
    assert made.model.ledger.failed > 0


def test_a_classifier_that_stays_down_ends_the_run() -> None:
    good, calls = small.model(), [0]

    def answer(x: Tensor) -> Tensor:
        calls[0] += 1
        if calls[0] > 6:
            raise ConnectionError("refused")
        return good.scores(x)

    made = small.objective(small.of_function(answer, patience=4))
    with pytest.raises(ObjectiveFailed, match="refused"):
        zotoolkit.minimize(made, InnerGradientSolver("latent", CENTRAL, ADAM), budget=5_000, progress=False)


@pytest.mark.parametrize(
    ("access", "answer", "words"),
    [
        ("logits", lambda x: torch.zeros(len(x), 5), "3 classes, but answered with 5"),
        ("proba", lambda x: torch.ones(len(x), 3), "sums to 3"),
        ("proba", lambda x: torch.zeros(len(x), dtype=torch.int64), "labels, by their form"),
        ("label", lambda x: torch.zeros(len(x), 3), "scores, by their form"),
        ("label", lambda x: torch.full((len(x),), 3), "labels 0 to 2, got 3"),
        ("logits", lambda x: torch.zeros(2, 3), "answered 2 rows"),
    ],
)
def test_a_classifier_that_breaks_its_promise_is_told_at_once(access: str, answer: Any, words: str) -> None:
    made = small.objective(small.of_function(answer, access))
    with pytest.raises(InvalidAnswers, match=words):
        zotoolkit.minimize(made, InnerGradientSolver("latent", CENTRAL, ADAM), budget=100, progress=False)


def test_a_denoiser_that_diverged_sends_nothing_and_moves_nothing() -> None:
    made = small.objective()
    made.minibatch(0)
    sent = made.model.ledger.sent
    x = torch.full_like(made.start(), torch.nan)
    batch = inner(made, "latent", CENTRAL)
    object.__setattr__(batch, "base", x)
    assert made.step(batch)[3]["status"].tolist() == [Status.NON_FINITE] * 8
    points = torch.stack((made.start(), x))
    values, _, _, info = made.step(zotoolkit.DenseBatch.at(points, 1))
    assert info["status"].tolist() == [Status.OK, Status.NON_FINITE]
    assert made.model.ledger.sent == sent + 8
    assert float(values[0]) == float(made.evaluate(points[:1], 1))


def test_another_classifier_behind_the_same_name_voids_the_figures() -> None:
    network = small.classifier()

    def answer(x: Tensor) -> Tensor:
        with torch.no_grad():
            return network(x)

    made = small.objective(small.of_function(answer))

    class Swap(zotoolkit.Callback):
        def on_iteration(self, run: zotoolkit.Run) -> None:
            if run.iteration == 2:
                with torch.no_grad():
                    network[1].weight.neg_()  # type: ignore[union-attr,operator]

    solver = InnerGradientSolver("latent", CENTRAL, ADAM, iterations=4)
    with pytest.warns(MetricsWarning, match="probe inputs otherwise than before"):
        result = zotoolkit.minimize(made, solver, budget=100, progress=False, callbacks=[Swap()])
    assert result.iterations == 4
    assert "certified_0" not in result.metrics
    with pytest.raises(DriftDetected):
        made.final_metrics(result.x)


def test_with_a_checkpoint_failing_figures_can_be_asked_for_again(tmp_path: Path) -> None:
    network, broken = small.classifier(), [True]

    def answer(x: Tensor) -> Tensor:
        with torch.no_grad():
            return network(x) * (
                -1 if broken[0] and made.model.purpose == "drift" and made.model.ledger.sent > 100 else 1
            )

    made = small.objective(small.of_function(answer))
    run: dict[str, Any] = {"budget": 100, "progress": False, "checkpoint": tmp_path}
    with pytest.raises(DriftDetected):
        zotoolkit.minimize(made, InnerGradientSolver("latent", CENTRAL, ADAM, iterations=2), **run)
    broken[0] = False
    again = InnerGradientSolver("latent", CENTRAL, ADAM, iterations=2)
    assert "certified_0" in zotoolkit.minimize(made, again, resume=True, **run).metrics


# Wrappers -------------------------------------------------------------------------------------------------------------


def test_wrappers_around_it(tmp_path: Path) -> None:
    def go(made: zotoolkit.BlackBoxObjective) -> Tensor:
        solver = InnerGradientSolver("latent", CENTRAL, ADAM)
        return zotoolkit.minimize(made, solver, budget=33, progress=False).x

    plain = go(small.objective())
    with wrappers.Record(small.objective(), tmp_path / "queries.csv", points=True) as record:
        assert torch.equal(go(wrappers.Retry(wrappers.Cache(wrappers.TargetReached(record, 0.0)))), plain)
    with pytest.raises(InvalidSetting, match="Noise changes losses"):
        go(wrappers.Noise(small.objective(), 0.1))


# What does not fit ----------------------------------------------------------------------------------------------------


def wrong_images(shape: tuple[int, ...]) -> DefenseImages:
    x = torch.rand(9, *shape)
    return DefenseImages(x, torch.arange(9) % 3, x, torch.arange(9) % 3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sigma": 0}, "sigma must be a finite number above 0, got 0"),
        ({"sigma": -0.5}, "sigma"),
        ({"sigma": float("nan")}, "sigma"),
        ({"images": 3}, "images must be DefenseImages"),
        ({"images": wrong_images((3, 4, 4))}, "takes other images"),
        ({"images": wrong_images((1, 8, 8))}, "takes other images"),
        ({"classifier": small.model(input=InputSpec((1, 4, 4), high=255.0))}, r"images in \[0, 255\]"),
        ({"classifier": small.model(input=(16,))}, "takes other images"),
        ({"classifier": small.of_function(lambda x: x, classes=2)}, "fewer classes than the 3"),
        ({"classifier": 3}, "a classifier must be"),
        ({"build": 3}, "build must be a function"),
        ({"build": lambda seed: nn.Identity()}, "build must return a Defense"),
        ({"build": lambda seed: Defense(Front(nn.Conv2d(1, 2, 1)))}, r"images of shape \(1, 4, 4\), got"),
        ({"loss": "hinge"}, "loss must be one of"),
        ({"classifier": small.model("label"), "loss": "cross-entropy"}, "answers with labels only"),
        ({"labels": "mine"}, "labels must be one of"),
        ({"mse_weight": -1.0}, "mse_weight"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 25}, "at most the 24 training samples"),
        ({"device": "cudda"}, "device"),
    ],
)
def test_bad_settings(change: dict[str, Any], words: str) -> None:
    settings = {"classifier": small.model(), "images": small.images(), "sigma": 0.5, "build": small.built, **change}
    settings.setdefault("batch_size", 8)
    with pytest.raises(InvalidSetting, match=words):
        DefendClassifier(measures=small.measures(), **settings)


def test_double_precision_is_refused() -> None:
    class Cast(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(1, 1, 1).double()

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x.double()).float()

    with pytest.raises(InvalidSetting, match="float32 throughout"):
        small.objective(build=lambda seed: Defense(Front(Cast())))


def test_a_radius_out_of_reach_is_told_before_training() -> None:
    with pytest.warns(RadiusWarning, match="2"):
        small.objective(measures=small.measures(radii=(0.0, 2.0)))


@pytest.mark.parametrize(
    ("place", "differences", "words"),
    [
        ("latnt", CENTRAL, "Did you mean 'latent'"),
        ("classifier", CENTRAL, "place must be one of 'latent', 'output'"),
        ("latent", None, "elsewhere a CGE or an RGE; got None"),
        ("latent", 3, "estimator must be a CGE or an RGE"),
    ],
)
def test_what_does_not_fit_an_interface(place: str, differences: Any, words: str) -> None:
    with pytest.raises(InvalidSetting, match=words):
        small.objective().inner_queries(place, differences)


def test_interfaces_are_those_that_there_are() -> None:
    assert tuple(small.objective().inner_places) == ("latent", "output")
    assert tuple(small.objective(latent=False).inner_places) == ("output",)
    assert tuple(small.objective(small.white()).inner_places) == ("latent", "output", "classifier")
    with pytest.raises(InvalidSetting, match="got CGE"):
        small.objective(small.white()).inner_queries("classifier", CENTRAL)
    labels = small.white(access="label")
    assert tuple(small.objective(labels).inner_places) == ("latent", "output")
