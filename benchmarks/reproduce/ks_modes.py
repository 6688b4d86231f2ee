"""All ways to train a corrector of a coarse Kuramoto-Sivashinsky step, by its error on test trajectories.

An explicit step of order 1 on 48 points, which left alone leaves the reference within a few steps and blows up in the
end, towards 4 times as many points and 10 substeps of order 2. The corrector has 89 parameters. Trajectories are
unrolled over 4 steps from 16 windows an iteration, 2,000 iterations in all; sparse queries take 4,000, and single-step
training (NON) 3,000. Rates are chosen on the validation split by a seed of their own; queries on all coordinates and
the hybrid, whose gradients estimate that of first-order training, take its rate. Random directions ask as many queries
an iteration as coordinates.
"""

from __future__ import annotations

import sys

from corrector_cell import Mode, Setting, comparison, shortened
from experiment import main

_RATES = (3e-3, 1e-2, 3e-2)
_IT = {"iterations": 2000}
_MODES = (
    Mode("SRC", "src"),
    Mode("NON", "non", "PDE/NON-v0", {"iterations": 3000}, _RATES),
    Mode("detached", "detached", "PDE/Detached-v0", _IT, _RATES),
    Mode("hybrid, RGE q = 16", "hybrid", "PDE/Hybrid-v0", {**_IT, "q": 16}, rate_of="fo-sol"),
    Mode("ZO-SOL, RGE", "rge", "PDE/ZO-SOL-v0", {**_IT, "estimator": "rge", "q": 89}, (1e-3, 3e-3, 1e-2)),
    Mode("ZO-SOL, sparse CGE", "sparse", "PDE/Sparse-ZO-SOL-v0", {"iterations": 4000}, (3e-3, 1e-2)),
    Mode("ZO-SOL, CGE", "cge", "PDE/ZO-SOL-v0", _IT, rate_of="fo-sol"),
    Mode("FO-SOL", "fo-sol", "PDE/FO-SOL-v0", _IT, _RATES),
)
_PROBLEM = "PDE/KuramotoSivashinsky-v0"
SETTINGS = {
    "quick": Setting(_PROBLEM, shortened((_MODES[0], *_MODES[-2:]), 2), (0,), "relative_l2", (8, 20)),
    "small": Setting(_PROBLEM, _MODES, (0, 1, 2), "relative_l2", (8, 20)),
}

EXPERIMENT = comparison("ks-modes", __doc__ or "", SETTINGS, 0.5, "Kuramoto-Sivashinsky, test trajectories")

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
