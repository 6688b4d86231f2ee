"""All ways to train a corrector of the coarse unsteady wake flow, by its error at unseen Reynolds numbers.

64 x 32 cells towards 256 x 128, six Reynolds numbers to train on, two to choose rates by, five to test. The corrector
has 278 parameters. Trajectories are unrolled over 4 steps from 2 windows an iteration, 300 iterations in all; sparse
queries take 1,200, and single-step training (NON) 3,000. Rates are chosen on the validation split by a seed of their
own; queries on all coordinates, whose gradient is all but that of first-order training, take its rate. Random
directions ask as many queries an iteration as coordinates; hybrid training asks along 64 directions of a state's 4,290
numbers.
"""

from __future__ import annotations

import sys

from corrector_cell import Mode, Setting, comparison, shortened
from experiment import main

_RATES = (3e-3, 1e-2, 3e-2)
_IT = {"iterations": 300}
_MODES = (
    Mode("SRC", "src"),
    Mode("NON", "non", "PDE/NON-v0", {"iterations": 3000}, (1e-3, 3e-3, 1e-2)),
    Mode("detached", "detached", "PDE/Detached-v0", _IT, _RATES),
    Mode("hybrid, RGE q = 64", "hybrid", "PDE/Hybrid-v0", {**_IT, "q": 64}, (1e-3, 3e-3)),
    Mode("ZO-SOL, RGE", "rge", "PDE/ZO-SOL-v0", {**_IT, "estimator": "rge", "q": 278}, (1e-3, 3e-3, 1e-2)),
    Mode("ZO-SOL, sparse CGE", "sparse", "PDE/Sparse-ZO-SOL-v0", {"iterations": 1200}, (1e-3, 3e-3, 1e-2)),
    Mode("ZO-SOL, CGE", "cge", "PDE/ZO-SOL-v0", _IT, rate_of="fo-sol"),
    Mode("FO-SOL", "fo-sol", "PDE/FO-SOL-v0", _IT, _RATES),
)
_PROBLEM = "PDE/WakeFlow-v0"
_TINY = {"resolution": 16, "factor": 2, "spin_up": 3, "frames": 20}
SETTINGS = {
    "quick": Setting(_PROBLEM, shortened((_MODES[0], *_MODES[-2:]), 2), (0,), "mae", (19,), _TINY),
    "small": Setting(_PROBLEM, _MODES, (0, 1, 2), "mae", (32, 100, 250)),
}

EXPERIMENT = comparison("wake-modes", __doc__ or "", SETTINGS, 1.0, "wake flow, five unseen Reynolds numbers")

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
