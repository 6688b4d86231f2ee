"""First-order update rules that torch.optim lacks."""

from zotoolkit.optimizers.normalized import normalized
from zotoolkit.optimizers.sign_sgd import SignSGD

__all__ = ["SignSGD", "normalized"]
