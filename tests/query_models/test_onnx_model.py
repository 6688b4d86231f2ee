"""A graph in ONNX Runtime as a query model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from tests.query_models.models import CLASSES, SHAPE, export, network
from zotoolkit.errors import DataDamaged, DataMissing, InvalidSetting, MissingExtra
from zotoolkit.query_models import InputSpec, OnnxModel, TorchModel, as_query_model


def graph(
    path: Path,
    *,
    shape: tuple[Any, ...] = ("batch", 6),
    dtype: int = TensorProto.FLOAT,
    answer: tuple[Any, ...] | None = ("batch", 6),
    inputs: int = 1,
    operator: str = "Identity",
) -> Path:
    """Write a graph that answers with its images, or with their largest position as `(m, 1)` labels."""
    node = (
        helper.make_node("ArgMax", ["x0"], ["y"], axis=1, keepdims=1)
        if operator == "ArgMax"
        else helper.make_node("Sum", [f"x{i}" for i in range(inputs)], ["y"])
    )
    kind = TensorProto.INT64 if operator == "ArgMax" else dtype
    model = helper.make_model(
        helper.make_graph(
            [node],
            "graph",
            [helper.make_tensor_value_info(f"x{i}", dtype, shape) for i in range(inputs)],
            [helper.make_tensor_value_info("y", kind, answer)],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def test_an_exported_network_answers_as_the_network(tmp_path: Path) -> None:
    path = export(network(), tmp_path / "network.onnx")
    x = torch.rand(50, *SHAPE)
    model = OnnxModel(path, threads=1)
    assert (model.access, model.classes, model.name) == ("logits", CLASSES, "network")
    assert model.input == InputSpec(SHAPE)
    torch.testing.assert_close(model.scores(x), TorchModel(network(), input=SHAPE).scores(x), rtol=1e-5, atol=1e-5)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for thing in (session, path, str(path)):
        other = as_query_model(thing, input=InputSpec(SHAPE, levels=256))
        assert isinstance(other, OnnxModel)
        assert other.input.levels == 256


def test_graphs_of_a_fixed_batch_size_are_filled_up(tmp_path: Path) -> None:
    model = OnnxModel(graph(tmp_path / "g.onnx", shape=(4, 6), answer=(4, 6)), batch_size=100)
    assert model.batch_size == 4
    x = torch.rand(11, 6)
    assert torch.equal(model.scores(x), x)
    assert (model.ledger.sent, model.ledger.batches) == (11, 3)
    smaller = OnnxModel(graph(tmp_path / "g.onnx", shape=(4, 6), answer=(4, 6)), batch_size=3)
    assert torch.equal(smaller.scores(x), x)


@pytest.mark.parametrize("dtype", [TensorProto.DOUBLE, TensorProto.FLOAT16])
def test_graphs_of_other_dtypes(tmp_path: Path, dtype: int) -> None:
    x = torch.rand(5, 6).half().float()
    assert torch.equal(OnnxModel(graph(tmp_path / "g.onnx", dtype=dtype)).scores(x), x)


def test_labels_as_a_column(tmp_path: Path) -> None:
    path = graph(tmp_path / "g.onnx", operator="ArgMax", answer=("batch", 1))
    with pytest.raises(InvalidSetting, match="classes must be given"):
        OnnxModel(path, access="label")
    model = OnnxModel(path, access="label", classes=6)
    assert model.predict(torch.eye(6)).tolist() == list(range(6))


def test_classifiers_converted_from_elsewhere_answer_with_dicts(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Softmax", ["x"], ["p"], axis=1),
        helper.make_node("ArgMax", ["x"], ["label"], axis=1, keepdims=0),
        helper.make_node("ZipMap", ["p"], ["probabilities"], domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2]),
    ]
    kind = helper.make_sequence_type_proto(
        helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    )
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "graph",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("n", 3))],
            [
                helper.make_tensor_value_info("label", TensorProto.INT64, ("n",)),
                helper.make_value_info("probabilities", kind),
            ],
        ),
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 1)],
        ir_version=8,
    )
    path = tmp_path / "g.onnx"
    onnx.save(model, str(path))
    x = torch.randn(7, 3)
    proba = OnnxModel(path, access="proba", classes=3, output="probabilities")
    torch.testing.assert_close(proba.scores(x), torch.softmax(x, dim=1))
    labels = OnnxModel(path, access="label", classes=3)
    assert torch.equal(labels.predict(x), x.argmax(dim=1))


def test_graphs_that_do_not_tell_their_shape(tmp_path: Path) -> None:
    path = graph(tmp_path / "g.onnx", shape=("n", "d"), answer=("n", "d"))
    with pytest.raises(InvalidSetting, match=r"input must be given: the graph names its input's shape as \['n', 'd'\]"):
        OnnxModel(path)
    with pytest.raises(InvalidSetting, match="classes must be given"):
        OnnxModel(path, input=(5,))
    model = OnnxModel(path, input=(5,), classes=5)
    assert model.predict(torch.eye(5)).tolist() == list(range(5))


def test_bad_graphs_and_settings_are_refused(tmp_path: Path) -> None:
    path = graph(tmp_path / "g.onnx")
    with pytest.raises(InvalidSetting, match=r"takes images of shape \[6\], not \(7,\)"):
        OnnxModel(path, input=(7,))
    with pytest.raises(InvalidSetting, match=r"takes images of shape \[6\], not \(2, 3\)"):
        OnnxModel(path, input=(2, 3))
    with pytest.raises(InvalidSetting, match="no output 'z'; it has y"):
        OnnxModel(path, output="z")
    with pytest.raises(InvalidSetting, match="got 2 inputs: x0, x1"):
        OnnxModel(graph(tmp_path / "two.onnx", inputs=2))
    with pytest.raises(InvalidSetting, match=r"floating-point images, got tensor\(int32\) for 'x0'"):
        OnnxModel(graph(tmp_path / "int.onnx", dtype=TensorProto.INT32, operator="ArgMax", answer=("batch", 1)))
    with pytest.raises(DataMissing, match="there is no ONNX file"):
        OnnxModel(tmp_path / "none.onnx")
    (tmp_path / "broken.onnx").write_bytes(path.read_bytes()[:20])
    with pytest.raises(DataDamaged, match=r"cannot run .*broken\.onnx"):
        OnnxModel(tmp_path / "broken.onnx")


def test_onnxruntime_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtra, match=r"needs onnxruntime: pip install 'zotoolkit\[onnx\]'"):
        OnnxModel(tmp_path / "g.onnx")


def test_arrays_that_the_runtime_owns_are_copied(tmp_path: Path) -> None:
    model = OnnxModel(graph(tmp_path / "g.onnx"))
    x = torch.rand(3, 6)
    first = model.scores(x)
    model.scores(torch.zeros(3, 6))
    assert torch.equal(first, x)
    assert np.isfinite(first.numpy()).all()
