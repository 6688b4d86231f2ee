"""A torch module as a query model: asked, never differentiated."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from zotoolkit.checks import check_device
from zotoolkit.errors import InvalidAnswers, InvalidSetting, brief
from zotoolkit.query_models.answers import Access
from zotoolkit.query_models.base import QueryModel
from zotoolkit.query_models.input_spec import InputSpec


class TorchModel(QueryModel):
    """Asks a torch module, in evaluation mode and without a graph.

    The module stays where it is and as it is: modules that are in training mode are put into evaluation mode for the
    batch and back after it. It works on a copy of the images, since many modules write into their input.

    Args:
        module: Maps `(k, *shape)` images to `(k, classes)` scores, or to `(k,)` labels for label access.
        input: Shape and range of the images; a bare shape stands for images in [0, 1].
        access: What it answers with.
        classes: Number of classes K; None asks the module once about a grey image, which no budget pays for.
        device: Where the module lives; by default where its first parameter or buffer does.
        **settings: As of `QueryModel`.

    Raises:
        InvalidSetting: If an argument cannot be used, or classes is None and the module's answer does not tell it.

    Examples:
        >>> module = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
        >>> model = TorchModel(module, input=(1, 2, 2))
        >>> model.classes, model.scores(torch.zeros(5, 1, 2, 2)).shape
        (3, torch.Size([5, 3]))
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        input: InputSpec | tuple[int, ...],
        access: Access = "logits",
        classes: int | None = None,
        device: torch.device | str | None = None,
        **settings: Any,
    ) -> None:
        if not isinstance(module, nn.Module):
            raise InvalidSetting(f"module must be a torch.nn.Module, got {brief(module)}.")
        self.module = module
        tensors = [*module.parameters(), *module.buffers()]
        self.device = check_device(device) if device is not None else (tensors[0].device if tensors else None)
        self._dtype = next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), torch.float32)
        spec = InputSpec.of(input)
        if classes is None:
            classes = self._count_classes(spec, access)
        settings.setdefault("name", type(module).__name__)
        super().__init__(access=access, classes=classes, input=spec, **settings)

    @override
    @torch.no_grad()
    def evaluate(self, images: Tensor) -> object:
        with _evaluating(self.module):
            return self.module(images.to(self.device or images.device, self._dtype, copy=True))

    def _count_classes(self, spec: InputSpec, access: Access) -> int:
        if access == "label":
            raise InvalidSetting("classes must be given for label access: one label does not tell how many there are.")
        grey = torch.full((1, *spec.shape), (spec.low + spec.high) / 2)
        try:
            answer = self.evaluate(grey)
        except RuntimeError as error:
            raise InvalidSetting(f"the module does not take images of shape {spec.shape}: {error}") from error
        if not isinstance(answer, Tensor) or answer.ndim != 2 or len(answer) != 1:
            raise InvalidAnswers(f"the module must answer one image with a (1, classes) tensor, got {brief(answer)}.")
        return answer.shape[1]


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    # One by one and not by module.eval(), so that parts that were in evaluation mode stay there afterwards.
    training = [part for part in module.modules() if part.training]
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True
