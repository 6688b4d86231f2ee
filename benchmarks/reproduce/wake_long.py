"""Correctors of the wake flow trained over 16 steps by a curriculum: queries against first-order training.

As wake_modes.py, unrolled over 4 steps for 100 iterations, 8 for 100 and 16 for 300. The rate is chosen by first-order
training on the validation split.
"""

from __future__ import annotations

import sys

from corrector_cell import Mode, Setting, comparison, shortened
from experiment import main

_CURRICULUM = {"unroll": ((0, 4), (100, 8), (200, 16))}
_IT = {"iterations": 500}
_MODES = (
    Mode("SRC", "src"),
    Mode("ZO-SOL, CGE", "cge", "PDE/ZO-SOL-v0", _IT, rate_of="fo-sol"),
    Mode("FO-SOL", "fo-sol", "PDE/FO-SOL-v0", _IT, (3e-3, 1e-2, 3e-2)),
)
_PROBLEM = "PDE/WakeFlow-v0"
_TINY = {"resolution": 16, "factor": 2, "spin_up": 3, "frames": 20, "unroll": ((0, 1), (1, 2))}
SETTINGS = {
    "quick": Setting(_PROBLEM, shortened((_MODES[0], *_MODES[-2:]), 2), (0,), "mae", (19,), _TINY),
    "small": Setting(_PROBLEM, _MODES, (0, 1, 2), "mae", (32, 100, 250), _CURRICULUM),
}

EXPERIMENT = comparison(
    "wake-long", __doc__ or "", SETTINGS, 1.0, "wake flow, curriculum to 16 steps, unseen Reynolds numbers"
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
