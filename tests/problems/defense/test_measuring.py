from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from problems.defense import Measures
from tests.problems.defense import small
from zotoolkit.certification import certify
from zotoolkit.errors import DriftDetected, InvalidSetting
from zotoolkit.query_models import QueryBudget
from zotoolkit.seeding import torch_generator


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"images": 0}, "images"),
        ({"n0": 0}, "n0"),
        ({"n": 0}, "n must"),
        ({"n": 99, "n0": 100}, "n must be at least n0"),
        ({"alpha": 0.0}, "alpha"),
        ({"alpha": 1.0}, "alpha"),
        ({"alpha": float("nan")}, "alpha"),
        ({"radii": (0.0, -0.25)}, "radius"),
        ({"chunk": 0}, "chunk"),
    ],
)
def test_bad_settings_are_told_before_anything_is_trained(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidSetting, match=words):
        Measures(**change)


def test_accuracies_along_the_way() -> None:
    made = small.objective(measures=small.measures(images=9))
    defense = made.defended(made.start())
    images, labels = made.images.test, made.images.test_labels
    told = made.metrics(made.start())
    with torch.no_grad():
        clean = small.classifier()(defense(images)).argmax(1)
        assert told["clean_accuracy"] == pytest.approx(float((clean == labels).double().mean()))
    assert set(told) == {"clean_accuracy", "noisy_accuracy"}
    assert made.model.ledger.of("evaluation").sent == 18


def test_certificates_are_those_of_the_composite() -> None:
    made = small.objective(measures=small.measures(images=9, n=100, radii=(0.0, 0.1)))
    defense = made.defended(made.start())
    mine = made.measures.certification(made, defense)
    network = small.classifier()

    def composite(x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return network(defense(x)).argmax(1)

    given: dict[str, Any] = {"sigma": 0.5, "n0": 10, "n": 100, "seed": mine.settings.seed, "classes": 3}
    theirs = certify(composite, made.images.test, made.images.test_labels, **given)
    assert mine.radii.tolist() == theirs.radii.tolist()
    assert mine.predicted.tolist() == theirs.predicted.tolist()
    told = made.final_metrics(made.start())
    assert told["certified_0.1"] == theirs.certified_accuracy(0.1)
    assert told["average_radius"] == theirs.average_certified_radius
    assert told["abstained"] == theirs.abstention_rate
    assert made.measures.certification(made, defense, n=20).n == 20


def test_baselines_stand_beside_it() -> None:
    made = small.objective(measures=small.measures(images=9, baselines=True))
    x = made.start() + 0.2 * torch.randn(made.dim, generator=torch_generator(0))
    told = made.final_metrics(x)
    names = {name.rpartition("_")[0] for name in told if name[-1].isdigit()}
    assert names == {"certified", "undefended", "untrained", "denoised"}
    # What a run begins with is measured as what it ends with.
    begun = made.final_metrics(made.start())
    assert [begun[f"certified_{r}"] for r in ("0", "0.25")] == [begun[f"untrained_{r}"] for r in ("0", "0.25")]
    assert [told[f"untrained_{r}"] for r in ("0", "0.25")] == [begun[f"untrained_{r}"] for r in ("0", "0.25")]
    undefended = certify(
        small.classifier().eval(),
        made.images.test,
        made.images.test_labels,
        sigma=0.5,
        n0=10,
        n=60,
        seed=made.measures.certification(made, None).settings.seed,
    )
    assert told["undefended_0"] == undefended.certified_accuracy(0.0)
    assert told["constant"] == pytest.approx(1 / 3)
    alone = small.objective(latent=False, measures=small.measures(images=3, baselines=True)).final_metrics
    assert not any(name.startswith("denoised") for name in alone(small.objective(latent=False).start()))


@pytest.mark.parametrize("latent", [True, False])
@pytest.mark.parametrize("baselines", [True, False])
def test_the_estimate_is_an_upper_bound(latent: bool, baselines: bool) -> None:
    made = small.objective(latent=latent, measures=small.measures(images=100, baselines=baselines))
    estimate = made.measures.estimate(made.images, autoencoder=latent)
    made.final_metrics(made.start())
    ledger = made.model.ledger
    ways = (3 + latent) if baselines else 1
    assert estimate.certification == ways * 9 * 70 >= ledger.of("certification").sent
    assert estimate.drift == ledger.of("drift").sent == 32


def test_accuracies_that_no_budget_pays_for_are_nan() -> None:
    needs = small.measures().estimate(small.images(), autoencoder=True)
    poor = small.objective(small.model(budget=QueryBudget(needs.total + 5)), labels="true")
    assert all(math.isnan(value) for value in poor.metrics(poor.start()).values())
    rich = small.objective(small.model(budget=QueryBudget(needs.total + 6)), labels="true")
    assert not any(math.isnan(value) for value in rich.metrics(rich.start()).values())


def test_a_classifier_that_changes_while_it_is_certified() -> None:
    network, asked = small.classifier(), [0]

    def answer(x: torch.Tensor) -> torch.Tensor:
        asked[0] += len(x)
        with torch.no_grad():
            return network(x) * (-1 if asked[0] > 100 else 1)

    made = small.objective(small.of_function(answer))
    with pytest.raises(DriftDetected, match="void"):
        made.final_metrics(made.start())


def test_queries_that_fail_make_certificates_smaller() -> None:
    network = small.classifier()

    def answer(x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            scores = network(x)
        scores[(x.flatten(1).sum(1) * 1e4).long() % 3 == 0] = torch.nan
        return scores

    settings: dict[str, Any] = {"measures": small.measures(images=9)}
    whole = small.objective(**settings)
    flawed = small.objective(small.of_function(answer, patience=1000), **settings)
    x = whole.start()
    one = whole.measures.certification(whole, whole.defended(x))
    two = flawed.measures.certification(flawed, flawed.defended(x))
    assert int(two.failed.sum()) > 0
    same = one.selected == two.selected
    assert bool((two.radii[same] <= one.radii[same]).all())
