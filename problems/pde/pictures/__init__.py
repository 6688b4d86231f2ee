"""Pictures of corrected simulators: vorticity, space and time, errors over time, spectra, an animation.

Each `draw_` function returns the content of a PNG file, `animate_vorticity` that of a GIF; `write_picture` writes
either. They need matplotlib, which the extra `plot` installs.
"""

from problems.pde.pictures.animation import animate_vorticity
from problems.pde.pictures.curves import draw_errors, draw_spectra
from problems.pde.pictures.panels import write_picture
from problems.pde.pictures.space_time import draw_space_time
from problems.pde.pictures.vorticity import draw_vorticity

__all__ = [
    "animate_vorticity",
    "draw_errors",
    "draw_space_time",
    "draw_spectra",
    "draw_vorticity",
    "write_picture",
]
