"""An ONNX Runtime session as a query model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from typing_extensions import override

from zotoolkit.errors import DataDamaged, DataMissing, InvalidAnswers, InvalidSetting, MissingExtra, brief
from zotoolkit.query_models.answers import Access
from zotoolkit.query_models.base import QueryModel
from zotoolkit.query_models.callable_model import as_array
from zotoolkit.query_models.input_spec import InputSpec

_DTYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}


class OnnxModel(QueryModel):
    """Asks a graph through ONNX Runtime.

    A graph whose first axis has a fixed size b is asked in batches of just b: the last one is filled up with images of
    zeros, whose answers are dropped.

    Args:
        session: An `onnxruntime.InferenceSession` or the path of an `.onnx` file, which is then opened for the CPU.
        input: Shape and range of the images; by default the shape that the graph names, in [0, 1].
        access: What it answers with.
        classes: Number of classes K; None takes the one that the graph names.
        output: Name of the output to read; None takes the first. A scikit-learn model converted to ONNX has its
            probabilities in "probabilities".
        providers: Execution providers for a path; None takes the CPU's.
        threads: Threads an operator may use, for a path; None leaves it to ONNX Runtime.
        **settings: As of `QueryModel`.

    Raises:
        MissingExtra: If a path is given and onnxruntime is not installed.
        DataMissing: If there is no such file.
        DataDamaged: If it holds no graph that ONNX Runtime can run.
        InvalidSetting: If the graph takes anything but floating-point images, or does not tell what is left out.
    """

    def __init__(
        self,
        session: Any,
        *,
        input: InputSpec | tuple[int, ...] | None = None,
        access: Access = "logits",
        classes: int | None = None,
        output: str | None = None,
        providers: list[str] | None = None,
        threads: int | None = None,
        **settings: Any,
    ) -> None:
        if isinstance(session, (str, os.PathLike)):
            settings.setdefault("name", Path(session).stem)
            session = _open(Path(session), providers, threads)
        inputs = session.get_inputs()
        if len(inputs) != 1:
            raise InvalidSetting(
                f"the graph must take images and nothing else, got {len(inputs)} inputs: "
                f"{', '.join(node.name for node in inputs)}."
            )
        node = inputs[0]
        if node.type not in _DTYPES:
            raise InvalidSetting(f"the graph must take floating-point images, got {node.type} for {node.name!r}.")
        fixed, shape = _split(node.shape)
        if input is None and shape is None:
            raise InvalidSetting(f"input must be given: the graph names its input's shape as {node.shape}.")
        spec = InputSpec.of(shape if input is None and shape is not None else input or ())
        if not _fits(spec.shape, node.shape):
            raise InvalidSetting(f"the graph takes images of shape {node.shape[1:]}, not {spec.shape}.")
        outputs = {answer.name: answer for answer in session.get_outputs()}
        self._output = next(iter(outputs)) if output is None else output
        if self._output not in outputs:
            raise InvalidSetting(f"the graph has no output {output!r}; it has {', '.join(outputs)}.")
        if classes is None:
            classes = _classes(outputs[self._output].shape, access)
        if fixed is not None:
            settings["batch_size"] = min(fixed, settings.get("batch_size", fixed))
        settings.setdefault("name", "OnnxModel")
        super().__init__(access=access, classes=classes, input=spec, **settings)
        self.session = session
        self._input = node.name
        self._dtype = _DTYPES[node.type]
        self._fixed = fixed

    @override
    def evaluate(self, images: Tensor) -> object:
        array = as_array(images).astype(self._dtype, copy=False)
        count = len(array)
        if self._fixed is not None and count < self._fixed:
            filling = np.zeros((self._fixed - count, *array.shape[1:]), dtype=array.dtype)
            array = np.concatenate((array, filling))
        (answer,) = self.session.run([self._output], {self._input: array})
        if isinstance(answer, list):  # scikit-learn's converter may answer with a dict an image
            answer = _from_maps(answer)
        if self._fixed is not None and len(answer) == self._fixed:
            answer = answer[:count]
        # Classifiers converted from elsewhere answer with one label an image as a column.
        return answer[:, 0] if self.access == "label" and np.ndim(answer) == 2 and answer.shape[1] == 1 else answer


def _open(path: Path, providers: list[str] | None, threads: int | None) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtra("an ONNX model needs onnxruntime: pip install 'zotoolkit[onnx]'.") from error
    if not path.is_file():
        raise DataMissing(f"there is no ONNX file {path}.")
    options = onnxruntime.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers or ["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no base
        raise DataDamaged(f"ONNX Runtime cannot run {path}: {error}") from error


def _split(shape: list[Any]) -> tuple[int | None, tuple[int, ...] | None]:
    """Return the fixed batch size, if there is one, and the shape of an image, if the graph tells it."""
    sizes = tuple(shape[1:])
    known = bool(sizes) and all(isinstance(size, int) and size > 0 for size in sizes)
    fixed = shape[0] if shape and isinstance(shape[0], int) and shape[0] > 0 else None
    return fixed, sizes if known else None


def _fits(shape: tuple[int, ...], named: list[Any]) -> bool:
    if len(named) != len(shape) + 1:
        return False
    return all(not isinstance(b, int) or b <= 0 or a == b for a, b in zip(shape, named[1:], strict=True))


def _classes(shape: list[Any], access: Access) -> int:
    if access != "label" and len(shape) == 2 and isinstance(shape[1], int) and shape[1] > 1:
        return shape[1]
    raise InvalidSetting(f"classes must be given: the graph names its answer's shape as {shape}, access is {access!r}.")


def _from_maps(answer: list[Any]) -> np.ndarray:
    try:
        return np.array([[row[key] for key in sorted(row)] for row in answer], dtype=np.float64)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise InvalidAnswers(f"the graph must answer with a tensor or a dict an image, got {brief(answer)}.") from error
