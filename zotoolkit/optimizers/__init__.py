"""First-order update rules that torch.optim lacks."""

from zotoolkit.optimizers.clipped import clipped
from zotoolkit.optimizers.sign_sgd import SignSGD

__all__ = ["SignSGD", "clipped"]
