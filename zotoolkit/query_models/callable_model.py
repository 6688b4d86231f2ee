"""A function of a batch of images as a query model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from torch import Tensor
from typing_extensions import override

from zotoolkit.checks import check_choice
from zotoolkit.dispatch import untouched
from zotoolkit.errors import InputMutated, InvalidSetting, brief
from zotoolkit.query_models.answers import Access
from zotoolkit.query_models.base import QueryModel
from zotoolkit.query_models.input_spec import InputSpec

Library = Literal["numpy", "torch"]


class CallableModel(QueryModel):
    """Asks a function of a batch of images.

    A function that raises fails its batch, which is then asked in halves until the images it cannot answer stand
    alone. There is no way to interrupt a function that hangs: give it a time-out of its own.

    Args:
        function: Takes `(k, *shape)` images and returns `(k, classes)` scores or `(k,)` integer labels.
        access: What it returns: "logits", "proba" or "label".
        classes: Number of classes K.
        input: Shape and range of the images; a bare shape stands for images in [0, 1].
        library: What it takes: "numpy" (read-only float32 arrays) or "torch" (on the images' device).
        **settings: As of `QueryModel`.

    Raises:
        InvalidSetting: If an argument cannot be used.

    Examples:
        >>> import torch
        >>> model = CallableModel(lambda x: np.stack([1 - x, x], 1)[:, :, 0], access="proba", classes=2, input=(1,))
        >>> model.predict(torch.tensor([[0.2], [0.9]])).tolist()
        [0, 1]
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        access: Access,
        classes: int,
        input: InputSpec | tuple[int, ...],
        library: Library = "numpy",
        **settings: Any,
    ) -> None:
        if not callable(function):
            raise InvalidSetting(f"function must be callable, got {brief(function)}.")
        settings.setdefault("name", getattr(function, "__name__", type(function).__name__))
        super().__init__(access=access, classes=classes, input=input, **settings)
        self._function = function
        self._library = check_choice(library, ("numpy", "torch"), "library")

    @override
    def evaluate(self, images: Tensor) -> object:
        if self._library == "torch":
            with untouched(images, f"{self.name} wrote into the images it was given"):
                return self._function(images)
        array = images.cpu().numpy().view()
        array.flags.writeable = False
        try:
            return self._function(array)
        except ValueError as error:
            if "read-only" in str(error):  # NumPy's words for every way of writing
                raise InputMutated(f"{self.name} wrote into its input ({error}); work on images.copy().") from error
            raise


def as_array(images: Tensor) -> np.ndarray:
    """Return the images as a fresh array that the receiver may write into."""
    return images.detach().cpu().numpy().copy()
