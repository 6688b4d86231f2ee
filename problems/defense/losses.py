"""The loss of one image, from what a classifier answers about it.

    cross-entropy   -log p_y, of logits or of probabilities that are kept above a floor
    zero-one        1 if the label is another than y, else 0: what label-only access allows

y is the classifier's own label of the clean image (stability: no true labels are needed) or the true one.
Source: Zhang et al., How to Robustify Black-Box ML Models? A Zeroth-Order Optimization Perspective, ICLR 2022, eq. (4).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from zotoolkit.checks import check_choice
from zotoolkit.errors import InvalidSetting
from zotoolkit.query_models import QueryModel

LOSSES = ("auto", "cross-entropy", "zero-one")
# Trees answer many probabilities with exactly 0. Below one vote in a hundred nothing is known, and the logarithm of a
# tiny floor would make one lost vote outweigh all others.
_FLOOR = 1e-2
# Of logits the largest loss: -inf is the logit of probability 0, and one infinite loss would outweigh a mini-batch.
_LARGEST = 100.0


def chosen_loss(loss: str, model: QueryModel) -> str:
    """Return the loss that a name stands for with this access: "auto" is cross-entropy wherever there are scores.

    Raises:
        InvalidSetting: If the name is unknown, or cross-entropy is asked of a classifier that answers with labels.
    """
    check_choice(loss, LOSSES, "loss")
    if loss == "auto":
        return "zero-one" if model.access == "label" else "cross-entropy"
    if loss == "cross-entropy" and model.access == "label":
        raise InvalidSetting(f"{model.name} answers with labels only, so loss must be 'zero-one' or 'auto'.")
    return loss


def image_losses(model: QueryModel, images: Tensor, labels: Tensor, loss: str) -> Tensor:
    """Ask a classifier and return the `(m,)` losses of `(m, ...)` images; NaN where a query failed.

    Images that are not finite, as those of a denoiser that has diverged, are not asked about: their loss is NaN.

    Args:
        model: The classifier.
        images: As it takes them.
        labels: `(m,)` int64.
        loss: "cross-entropy" or "zero-one".
    """
    finite = torch.isfinite(images).flatten(1).all(1)
    if not bool(finite.all()):
        losses = images.new_full((len(images),), torch.nan)
        if bool(finite.any()):
            losses[finite] = image_losses(model, images[finite], labels[finite], loss)
        return losses
    if loss == "zero-one":
        told = model.predict(images)
        return torch.where(told < 0, torch.nan, (told != labels).to(images.dtype))
    scores = model.scores(images)
    if model.access == "logits":
        entropies = functional.cross_entropy(scores, labels, reduction="none")
        return entropies.clamp(max=_LARGEST).to(images.dtype)  # clamp keeps a NaN
    return floored(scores.gather(1, labels[:, None])[:, 0]).to(images.dtype)


def floored(probabilities: Tensor) -> Tensor:
    """Return -log of probabilities kept above the floor; NaN stays NaN."""
    return -torch.log(probabilities.clamp(min=_FLOOR))
