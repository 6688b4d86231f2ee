"""A torch module as a query model."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.query_models.models import CLASSES, SHAPE, network
from zotoolkit.errors import InvalidAnswers, InvalidSetting
from zotoolkit.query_models import InputSpec, QueryBudget, TorchModel


def test_it_answers_as_in_evaluation_mode_and_leaves_the_module_as_it_was() -> None:
    module = network()
    module[3].eval()  # a part that is in another mode than the whole
    modes = [part.training for part in module.modules()]
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    x = torch.rand(20, *SHAPE)
    model = TorchModel(module, input=SHAPE)
    scores = model.scores(x)
    assert [part.training for part in module.modules()] == modes
    assert all(torch.equal(tensor, state[name]) for name, tensor in module.state_dict().items())
    torch.testing.assert_close(scores, module.eval()(x.clone()), rtol=1e-5, atol=1e-5)


def test_modes_come_back_after_an_error() -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError("no")

    module = Broken()
    answers = TorchModel(module, input=(2,), classes=3).ask(torch.zeros(1, 2))
    assert answers.errors == {0: "ValueError: no"}
    assert module.training


def test_no_graph_and_no_global_mode() -> None:
    model = TorchModel(network(), input=SHAPE)
    assert torch.is_grad_enabled()
    scores = model.scores(torch.rand(2, *SHAPE, requires_grad=True))
    assert torch.is_grad_enabled()
    assert scores.grad_fn is None
    assert not scores.requires_grad


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_modules_of_other_dtypes(dtype: torch.dtype) -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).to(dtype)
    x = torch.rand(4, *SHAPE)
    model = TorchModel(module, input=SHAPE)
    expected = module(x.to(dtype)).float()
    torch.testing.assert_close(model.scores(x), expected)


def test_a_module_without_parameters_and_one_of_labels() -> None:
    assert TorchModel(nn.Identity(), input=(4,)).classes == 4

    class Labels(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.argmax(dim=1)

    model = TorchModel(Labels(), input=(4,), access="label", classes=4)
    assert model.predict(torch.eye(4)).tolist() == [0, 1, 2, 3]
    with pytest.raises(InvalidSetting, match="classes must be given for label access"):
        TorchModel(Labels(), input=(4,), access="label")


def test_counting_the_classes_costs_no_budget() -> None:
    model = TorchModel(network(), input=SHAPE, budget=QueryBudget(1))
    assert model.classes == CLASSES
    assert model.ledger.sent == 0


def test_probabilities_are_checked() -> None:
    model = TorchModel(nn.Sequential(nn.Linear(4, 3), nn.Softmax(dim=1)), input=(4,), access="proba")
    assert float((model.scores(torch.rand(9, 4)).sum(dim=1) - 1).abs().max()) < 1e-5
    logits = TorchModel(nn.Linear(4, 3), input=(4,), access="proba")
    with pytest.raises(InvalidAnswers, match="Linear was declared to answer with probabilities"):
        logits.ask(torch.rand(9, 4))


def test_bad_modules_are_refused() -> None:
    with pytest.raises(InvalidSetting, match="module must be a torch"):
        TorchModel(lambda x: x, input=(4,))  # type: ignore[arg-type]
    with pytest.raises(InvalidSetting, match=r"the module does not take images of shape \(5,\)"):
        TorchModel(nn.Linear(4, 3), input=(5,))
    with pytest.raises(InvalidAnswers, match=r"must answer one image with a \(1, classes\) tensor"):
        TorchModel(nn.Conv2d(1, 2, 3), input=SHAPE)
    with pytest.raises(InvalidSetting, match="device 'cuda:99' is not there"):
        TorchModel(nn.Linear(4, 3), input=(4,), device="cuda:99")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_module_stays_on_its_device_and_answers_come_back() -> None:
    model = TorchModel(network().cuda(), input=InputSpec(SHAPE))
    x = torch.rand(7, *SHAPE)
    assert model.ask(x).labels.device.type == "cpu"
    assert model.ask(x.cuda()).labels.device.type == "cuda"
    assert torch.equal(model.predict(x), TorchModel(network(), input=SHAPE).predict(x))
