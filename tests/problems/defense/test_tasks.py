"""The registered problems. Classifiers are trained once a session; denoisers stay small and mostly untrained."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import zotoolkit
from problems.defense import DefendClassifier, DefenseImages, defend_digits, tasks
from problems.defense.classifiers import random_forest
from problems.defense.networks import DnCNN
from problems.dnn.data import IMAGE_SETS
from tests.problems.defense.small import CPU
from zotoolkit import CGE, Reason
from zotoolkit.engines.base import seeded_randomness
from zotoolkit.errors import BudgetSpent, CheckpointMissing, InvalidSetting, RadiusWarning, UnknownSetting
from zotoolkit.inner import InnerBatch
from zotoolkit.query_models import CallableModel, InputSpec, QueryModel, SklearnModel, TorchModel
from zotoolkit.query_models.server import serve

SMALL: dict[str, Any] = {
    "depth": 2,
    "width": 2,
    "latent": 0,
    "initial": "random",
    "batch_size": 8,
    "certified_images": 5,
    "n": 100,
    "baselines": False,
}
CERTIFICATION = 5 * 200  # n0 + n for each image
NEEDS = CERTIFICATION + 32


@pytest.fixture(scope="module")
def classifier() -> nn.Module:
    with seeded_randomness(0, CPU):
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def digits(**settings: Any) -> DefendClassifier:
    return defend_digits(**{**SMALL, **settings})


def test_a_forest_is_defended_from_the_registry() -> None:
    made = zotoolkit.make("Defense/Digits-v0", **SMALL)
    assert isinstance(made, DefendClassifier)
    assert isinstance(made.model, SklearnModel)
    assert made.dim == sum(parameter.numel() for parameter in DnCNN(2, 2, 1).parameters())
    assert {name: made.metadata[name] for name in ("name", "classifier", "access", "sigma", "batches_per_epoch")} == {
        "name": "Defense of a forest",
        "classifier": "forest",
        "access": "proba",
        "sigma": 0.5,
        "batches_per_epoch": 1438 // 8,
    }
    solver = zotoolkit.make_solver("Defense/ZO-DS-v0", q=2, iterations=2)
    result = zotoolkit.minimize(made, solver, budget=9, progress=False)
    assert {"certified_0", "certified_0.25", "certified_0.5", "constant"} < set(result.metrics)
    # A tree is constant on steps of 0.005: the probe finds a longer one.
    assert made.inner_mu("output") > 0.05


def test_the_seed_makes_another_denoiser(classifier: nn.Module) -> None:
    made = digits(classifier=classifier)
    first, second = made.reset(seed=0)[0], made.reset(seed=1)[0]
    assert not torch.equal(first, second)
    assert torch.equal(made.reset(seed=0)[0], first)
    assert torch.equal(digits(classifier=classifier).reset(seed=1)[0], second)


def test_with_an_auto_encoder_the_latent_is_an_interface(
    classifier: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "pretrain_autoencoder", functools.partial(tasks.pretrain_autoencoder, epochs=2))
    made = digits(classifier=classifier, latent=3, autoencoder_width=4)
    assert tuple(made.inner_places) == ("latent", "output", "classifier")
    central = CGE(difference="central")
    x0, _ = made.reset(seed=0)
    batch = InnerBatch(base=x0, scale=x0.new_zeros(6), place="latent", differences=central)
    assert made.inner_queries("latent", central) == 6
    assert float(made.step(batch)[3].get("gradient", x0.new_zeros(1)).norm()) > 0


@pytest.mark.parametrize("access", ["logits", "proba", "label"])
def test_a_network_answers_as_much_as_it_may(access: str) -> None:
    made = digits(classifier="cnn", access=access)
    assert (made.model.access, made.loss) == (access, "zero-one" if access == "label" else "cross-entropy")
    assert ("classifier" in made.inner_places) == (access != "label")
    labels = made.model.predict(made.images.test)
    assert float((labels == made.images.test_labels).double().mean()) > 0.9
    assert math.isfinite(float(made.evaluate(made.start()[None], 0)))


def test_rounding_is_a_part_of_the_black_box(classifier: nn.Module) -> None:
    made = digits(classifier=classifier, levels=256)
    assert made.model.input == InputSpec((1, 8, 8), levels=256)
    assert made.inner_mu("output") > 0.005


# A classifier of one's own --------------------------------------------------------------------------------------------


@pytest.fixture
def own(request: pytest.FixtureRequest, classifier: nn.Module) -> Iterator[Any]:
    kind = request.param
    if kind == "module":
        yield classifier, TorchModel, {}
    elif kind == "estimator":
        yield random_forest(DefenseImages.digits()).model, SklearnModel, {"access": "label"}
    elif kind == "function":
        yield lambda x: x.reshape(len(x), -1)[:, :10], CallableModel, {"access": "logits"}
    elif kind == "model":
        yield TorchModel(classifier, input=(1, 8, 8)), TorchModel, {}
    else:
        with serve(TorchModel(classifier, input=(1, 8, 8)), port=0) as server:
            yield server.url, QueryModel, {}


@pytest.mark.parametrize("own", ["module", "estimator", "function", "model", "address"], indirect=True)
def test_whatever_can_be_asked(own: Any) -> None:
    given, kind, settings = own
    made = digits(classifier=given, **settings)
    with made.model:
        assert isinstance(made.model, kind)
        assert made.model.classes == 10
        assert made.metadata["name"].startswith("Defense")
        assert math.isfinite(float(made.evaluate(made.start()[None], 0)))


@pytest.mark.parametrize(
    ("change", "words"),
    [({"access": "label"}, "access"), ({"levels": 256}, "levels"), ({"image_budget": 10**6}, "image_budget")],
)
def test_a_model_that_has_its_settings_takes_no_others(
    change: dict[str, Any], words: str, classifier: nn.Module
) -> None:
    with pytest.raises(InvalidSetting, match=f"has its settings already; it cannot take {words}"):
        digits(classifier=TorchModel(classifier, input=(1, 8, 8)), **change)


# Budgets --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image_budget", "error", "words"),
    [
        (0, InvalidSetting, "image_budget must be an integer"),
        (1.5, InvalidSetting, "image_budget must be an integer"),
        (NEEDS, InvalidSetting, r"1,032 images \(1,000 for certification, 32 for drift\), got 1,032; raise it"),
        (NEEDS + 1_437, BudgetSpent, "1 images short"),
    ],
)
def test_a_budget_that_cannot_cover_the_end_is_told_at_the_beginning(
    image_budget: Any, error: type[Exception], words: str, classifier: nn.Module
) -> None:
    with pytest.raises(error, match=words):
        digits(classifier=classifier, image_budget=image_budget)


def test_training_ends_with_its_part_of_the_budget(classifier: nn.Module) -> None:
    made = digits(classifier=classifier, image_budget=NEEDS + 1_438 + 1_000)
    solver = zotoolkit.make_solver("Defense/ZO-DS-v0", q=4, mu=0.005, iterations=10_000, schedule="constant")
    with pytest.warns(zotoolkit.errors.ScheduleWarning):
        result = zotoolkit.minimize(made, solver, budget=5_000, progress=False)
    assert (result.reason, result.queries) == (Reason.BUDGET_SPENT, 8 * (1_000 // 64) + 1)
    assert math.isfinite(result.value)
    assert "certified_0" in result.metrics


def test_more_images_than_there_are_are_all_of_them(classifier: nn.Module) -> None:
    made = digits(classifier=classifier, certified_images=1_000)
    assert made.measures.estimate(made.images, autoencoder=False).certification == 359 * 200


# What does not fit ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sigma": 0}, "sigma"),
        ({"sigma": -1.0}, "sigma"),
        ({"classifier": "forrest"}, "Did you mean 'forest'"),
        ({"classifier": 3}, "a classifier must be"),
        ({"access": "logits", "classifier": "forest"}, "access='logits' needs decision_function"),
        ({"access": "labels", "classifier": "cnn"}, "Did you mean 'label'"),
        ({"latent": -1}, "latent"),
        ({"depth": 1}, "depth"),
        ({"width": 0}, "width"),
        ({"initial": "zeros"}, "initial must be one of 'mse', 'random'"),
        ({"levels": 1}, "levels"),
        ({"certified_images": 0}, "images"),
        ({"n": 99}, "n must be at least n0"),
        ({"batch_size": 1_439}, "at most the 1438"),
        ({"arithmetic": "float8"}, "float8"),
    ],
)
def test_bad_settings(change: dict[str, Any], words: str, classifier: nn.Module) -> None:
    with pytest.raises(InvalidSetting, match=words):
        digits(**{"classifier": classifier, **change})


def test_a_setting_that_there_is_not() -> None:
    with pytest.raises(UnknownSetting, match="Did you mean 'sigma'"):
        zotoolkit.make("Defense/Digits-v0", sigme=1.0)
    with pytest.raises(UnknownSetting, match="needs the setting 'checkpoint'"):
        zotoolkit.make("Defense/CIFAR10-v0")


def test_too_few_samples_for_a_radius_are_told(classifier: nn.Module) -> None:
    with pytest.warns(RadiusWarning):
        digits(classifier=classifier, sigma=0.1)


@pytest.mark.skipif("ZOTOOLKIT_RESNET20" not in os.environ, reason="needs a checkpoint, by ZOTOOLKIT_RESNET20")
@pytest.mark.skipif(not IMAGE_SETS["cifar10"].is_there(), reason="needs CIFAR-10, by ZOTOOLKIT_DATA or in data")
def test_cifar10() -> None:
    settings = {"depth": 2, "width": 2, "latent": 0, "initial": "random", "train_samples": 64, "batch_size": 8}
    made = zotoolkit.make("Defense/CIFAR10-v0", checkpoint=os.environ["ZOTOOLKIT_RESNET20"], **settings)
    assert math.isfinite(float(made.evaluate(made.start()[None], 0)))
    with pytest.raises(CheckpointMissing):
        zotoolkit.make("Defense/CIFAR10-v0", checkpoint=Path("none.safetensors"), **settings)
