"""A certificate is void if the classifier changed in between."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.query_models.models import CLASSES, SHAPE, Scripted, network, numbered
from zotoolkit.checkpoint import load_state, save_state
from zotoolkit.errors import BudgetSpent, CheckpointMismatch, DriftDetected, InvalidImages, InvalidSetting
from zotoolkit.query_models import BatchFailed, DriftProbe, InputSpec, QueryBudget, TorchModel, probe_images

NAN = float("nan")


def shifted(by: dict[int, float]) -> Scripted:
    """Scores whose image 3 moves by so much from call k on."""

    def script(call: int, images: Tensor) -> Tensor:
        scores = torch.eye(CLASSES)[images[:, 0].long() % CLASSES]
        scores[images[:, 0] == 3] += by.get(call, 0.0)
        return scores

    return Scripted(script, access="logits")


def test_the_same_classifier_passes_and_is_counted_apart() -> None:
    model = TorchModel(network(), input=SHAPE, budget=QueryBudget(100, {"drift": 32}))
    with DriftProbe(model) as probe:
        model.ask(torch.rand(5, *SHAPE))
    assert len(probe) == 16
    assert model.ledger.of("drift").sent == 32
    assert model.ledger.of("general").sent == 5
    with pytest.raises(BudgetSpent, match="only 63 are left"):
        model.budget.take(64, "drift")  # type: ignore[union-attr]


def test_another_network_behind_the_same_interface_is_noticed() -> None:
    module = network()
    model = TorchModel(module, input=SHAPE)

    def certify() -> None:
        with DriftProbe(model), torch.no_grad():
            module[-1].weight.add_(0.01)  # type: ignore[union-attr, operator]

    with pytest.raises(DriftDetected, match=r"answers \d+ of 16 probe inputs otherwise than before, .* is void"):
        certify()


def test_labels_must_be_equal() -> None:
    model = Scripted(lambda call, images: torch.full((len(images),), int(call == 1)))
    probe = DriftProbe(model, numbered(6))
    probe.record()
    with pytest.raises(DriftDetected, match=r"answers 6 of 6 .* with label 1 where it was 0"):
        probe.check()
    probe = DriftProbe(Scripted(), numbered(6))
    probe.record()
    probe.check()
    probe.check()


@pytest.mark.parametrize(("moved", "noticed"), [(0.0009, False), (0.0011, True), (-0.5, True), (NAN, False)])
def test_scores_may_move_within_the_tolerance(moved: float, noticed: bool) -> None:
    probe = DriftProbe(shifted({1: moved}), numbered(6), tolerance=1e-3)
    probe.record()
    if noticed:
        with pytest.raises(DriftDetected, match=r"1 of 6 .* a score that moved by"):
            probe.check()
    else:
        probe.check()


def test_logits_of_probability_zero_have_not_moved() -> None:
    def script(call: int, images: Tensor) -> Tensor:
        return torch.tensor([0.0, -torch.inf, 1.0, 2.0, 3.0]).expand(len(images), 5)

    probe = DriftProbe(Scripted(script, access="logits"), numbered(4))
    probe.record()
    probe.check()


def test_too_few_answers_say_nothing() -> None:
    def script(call: int, images: Tensor) -> None:
        if call == 1:
            raise BatchFailed("gone", again=False)

    probe = DriftProbe(Scripted(script), numbered(6))
    probe.record()
    with pytest.raises(DriftDetected, match=r"only 0 of 6 probe inputs were answered both before and after \(gone\)"):
        probe.check()


def test_nothing_to_compare_with() -> None:
    with pytest.raises(DriftDetected, match="call record before"):
        DriftProbe(Scripted()).check()


def test_another_error_is_not_hidden_by_the_probe() -> None:
    with pytest.raises(KeyError), DriftProbe(shifted({1: 9.0}), numbered(6)):
        raise KeyError


def test_a_resumed_run_compares_with_the_first(tmp_path: object) -> None:
    first = DriftProbe(shifted({}), numbered(6))
    first.record()
    save_state(str(tmp_path), {"probe": first.state_dict()}, {})
    state = load_state(str(tmp_path))[0]["probe"]
    resumed = DriftProbe(shifted({0: 5.0}), seed=9)
    resumed.load_state_dict(state)
    resumed.record()  # asks nothing: the answers are known
    assert resumed.model.ledger.sent == 0
    with pytest.raises(DriftDetected, match="1 of 6"):
        resumed.check()
    fresh = DriftProbe(Scripted())
    fresh.load_state_dict(DriftProbe(Scripted()).state_dict())
    assert fresh.before is None
    for probe in (DriftProbe(Scripted()), DriftProbe(Scripted(access="logits", classes=7, input=(2,)))):
        with pytest.raises(CheckpointMismatch, match="other access or classes"):
            probe.load_state_dict(state)
    with pytest.raises(CheckpointMismatch, match=r"must hold \(p, 3\) inputs"):
        DriftProbe(Scripted(input=(3,))).load_state_dict(state)


@pytest.mark.parametrize("shape", [(3, 8, 8), (8, 8), (20,), (2, 3, 4, 5)])
def test_default_inputs_are_in_range_different_and_the_same_each_time(shape: tuple[int, ...]) -> None:
    spec = InputSpec(shape, low=-2, high=3)
    images = probe_images(spec, 16)
    assert images.shape == (16, *shape)
    assert float(images.min()) >= -2
    assert float(images.max()) <= 3
    assert torch.equal(images, probe_images(spec, 16))
    assert not torch.equal(images, probe_images(spec, 16, seed=1))
    assert len(images.flatten(1).unique(dim=0)) == 16
    if len(shape) in (2, 3):
        roughness = images.diff(dim=-1).abs().flatten(1).mean(dim=1)
        assert float(roughness[1::2].max()) < float(roughness[::2].min())


def test_bad_probes_are_refused() -> None:
    with pytest.raises(InvalidImages, match="at least one input"):
        DriftProbe(Scripted(), numbered(0))
    with pytest.raises(InvalidImages, match="must have shape"):
        DriftProbe(Scripted(), torch.zeros(3, 9))
    with pytest.raises(InvalidSetting, match="tolerance must be"):
        DriftProbe(Scripted(), tolerance=-1)
    with pytest.raises(InvalidSetting, match="seed must be"):
        DriftProbe(Scripted(), seed=-1)
