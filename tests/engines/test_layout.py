from __future__ import annotations

import pytest
import torch
from torch import nn

from zotoolkit.engines import Kind, ParameterLayout
from zotoolkit.errors import InvalidBatch, InvalidSetting, InvalidStart


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5), nn.LayerNorm(5)
    )


def test_round_trip_and_offsets() -> None:
    module = network()
    layout = ParameterLayout.of(module)
    x = layout.flatten(module)
    assert layout.dim == len(x) == sum(p.numel() for p in module.parameters())
    for name, value in layout.unflatten(x).items():
        assert torch.equal(value, module.get_parameter(name))
        slot = layout[name]
        assert torch.equal(x[slot.start : slot.stop], module.get_parameter(name).detach().flatten())
    moved = x + 1
    layout.write(moved, module)
    assert torch.equal(layout.flatten(module), moved)
    batch = layout.unflatten(torch.stack((x, moved)))
    assert batch["0.weight"].shape == (2, 4, 1, 3, 3)
    assert batch["0.weight"].data_ptr() == batch["0.weight"].untyped_storage().data_ptr()


def test_kinds_and_coordinates() -> None:
    layout = ParameterLayout.of(network())
    kinds = {slot.name: slot.kind for slot in layout.slots}
    assert kinds == {
        "0.weight": Kind.CONV_WEIGHT,
        "0.bias": Kind.BIAS,
        "1.weight": Kind.NORM,
        "1.bias": Kind.NORM,
        "4.weight": Kind.LINEAR_WEIGHT,
        "4.bias": Kind.BIAS,
        "5.weight": Kind.NORM,
        "5.bias": Kind.NORM,
    }
    index = torch.cat([layout.coordinates(kind) for kind in Kind]).sort().values
    assert torch.equal(index, torch.arange(layout.dim))
    assert torch.equal(
        layout.coordinates("bias", Kind.NORM),
        torch.cat([layout.coordinates("bias"), layout.coordinates(Kind.NORM)]).sort().values,
    )
    assert layout.coordinates(Kind.EMBEDDING).shape == (0,)
    for position, slot in enumerate(layout.slots):
        assert layout.slot_of(torch.tensor([slot.start, slot.stop - 1])).tolist() == [position, position]


def test_embeddings_attention_and_reparametrised_weights() -> None:
    module = nn.ModuleDict({"words": nn.Embedding(3, 4), "look": nn.MultiheadAttention(4, 2), "out": nn.Linear(4, 2)})
    nn.utils.parametrizations.weight_norm(module["out"], "weight")
    kinds = {slot.name: slot.kind for slot in ParameterLayout.of(module).slots}
    assert kinds["words.weight"] is Kind.EMBEDDING
    assert kinds["look.in_proj_weight"] is Kind.LINEAR_WEIGHT
    assert kinds["look.in_proj_bias"] is Kind.BIAS
    assert kinds["out.parametrizations.weight.original1"] is Kind.LINEAR_WEIGHT
    assert kinds["out.bias"] is Kind.BIAS


def test_frozen_parameters_have_no_place() -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    module[0].requires_grad_(False)
    module.register_parameter("codes", nn.Parameter(torch.tensor([1, 2]), requires_grad=False))
    assert [slot.name for slot in ParameterLayout.of(module).slots] == ["1.weight", "1.bias"]


def test_tied_parameters_have_one_place() -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    module[1].weight = module[0].weight
    layout = ParameterLayout.of(module)
    assert layout.dim == 9 + 3 + 3
    assert layout["0.weight"].aliases == ("1.weight",)
    assert layout["1.weight"] == layout["0.weight"]
    layout.write(torch.arange(15.0), module)
    assert module[1].weight[0, 1] == 1.0


def test_mixed_precision() -> None:
    module = nn.Sequential(nn.Linear(2, 2).bfloat16(), nn.Linear(2, 1))
    layout = ParameterLayout.of(module)
    assert layout.dtype == torch.float32
    values = layout.unflatten(layout.flatten(module))
    assert values["0.weight"].dtype == torch.bfloat16
    assert values["1.weight"].dtype == torch.float32
    assert ParameterLayout.of(nn.Linear(2, 2).double()).dtype == torch.float64


@pytest.mark.filterwarnings("ignore:Lazy modules", "ignore:Complex modules")
def test_what_cannot_be_laid_out_is_said() -> None:
    with pytest.raises(InvalidSetting, match="ReLU has no trainable parameter"):
        ParameterLayout.of(nn.ReLU())
    with pytest.raises(InvalidSetting, match=r"module must be a torch.nn.Module, got 3 \(int\)"):
        ParameterLayout.of(3)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidSetting, match=r"'weight' has dtype torch.complex64"):
        ParameterLayout.of(nn.Linear(2, 2).to(torch.complex64))
    with pytest.raises(InvalidSetting, match="'weight' is lazy"):
        ParameterLayout.of(nn.LazyLinear(2))
    layout = ParameterLayout.of(nn.Linear(3, 2))
    with pytest.raises(InvalidBatch, match="x must end in an axis of d=8, got a tensor of shape"):
        layout.unflatten(torch.zeros(7))
    with pytest.raises(InvalidStart, match=r"'bias' must have shape \(2,\), got none"):
        layout.flatten({"weight": torch.zeros(2, 3)})
    with pytest.raises(InvalidSetting, match="no trainable parameter 'wait'"):
        layout["wait"]
