"""A mesh of square cavities side by side that share no face: several flows in one OpenFOAM case.

Each cavity has cells x cells square cells and one cell of depth. The cavities are numbered along x, and their cells row
by row from the bottom; so a field on the mesh is a `(cavities, rows, columns)` array in memory. OpenFOAM wants the
inner faces sorted by the lower of their two cells and then by the higher, and the faces at a boundary after them, patch
by patch; a face's corners run so that its normal leaves the lower cell.

Source: OpenFOAM User Guide, section "Mesh description".
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from problems.pde.simulators.external.case_files import Array
from problems.pde.simulators.external.openfoam.format import foam_file, label_list, vector_list

GAP = 1.0
"""Distance between two cavities, in sides of one."""


@dataclass(frozen=True)
class Faces:
    """Faces of cavities.

    Attributes:
        corners: `(f, 4)` numbers of points.
        owner: `(f,)` numbers of the cells that the normals leave.
        neighbour: `(inner,)` numbers of the cells that the inner faces' normals enter.
        sizes: Faces of each patch, by name, in their order behind the inner ones.
    """

    corners: Array
    owner: Array
    neighbour: Array
    sizes: dict[str, int]


def cavity_faces(cells: int, count: int) -> Faces:
    """Return the faces of `count` cavities of `cells` x `cells` cells.

    Examples:
        >>> faces = cavity_faces(2, 3)
        >>> len(faces.neighbour), faces.sizes
        (12, {'lid': 6, 'walls': 18, 'sides': 24})
    """
    columns, rows = np.arange(cells), np.arange(cells)
    cavity = np.arange(count)
    cell = (cavity[:, None, None] * cells + rows[:, None]) * cells + columns
    line = cells + 1
    # The front corner at the lower left of each cell; the ones behind follow all in front, cavity by cavity.
    low = (cavity[:, None, None] * 2 * line + rows[:, None]) * line + columns
    right, up, back = 1, line, line * line

    def faces(start: Array, *steps: int) -> Array:
        return start.reshape(-1, 1) + np.array((0, *steps))

    # Normals along +x, +y: seen from the higher cell, the corners run anticlockwise.
    towards_x = faces(low + right, up, up + back, back)
    towards_y = faces(low + up, back, back + right, right)
    number = np.arange(cell.size).reshape(cell.shape)
    has_x, has_y = (
        np.broadcast_to(columns < cells - 1, cell.shape),
        np.broadcast_to(rows[:, None] < cells - 1, cell.shape),
    )
    corners = np.stack((towards_x, towards_y), 1).reshape(-1, 4)
    inner = np.stack((has_x.ravel(), has_y.ravel()), 1).ravel()
    owner = np.repeat(number.ravel(), 2)[inner]
    neighbour = np.stack((number.ravel() + 1, number.ravel() + cells), 1).ravel()[inner]

    lid = faces(low[:, -1] + up, back, back + right, right), cell[:, -1]
    floor = faces(low[:, 0], right, right + back, back), cell[:, 0]
    left = faces(low[:, :, 0], back, back + up, up), cell[:, :, 0]
    far = faces(low[:, :, -1] + right, up, up + back, back), cell[:, :, -1]
    front = faces(low, up, up + right, right), cell
    behind = faces(low + back, right, right + up, up), cell
    patches = {"lid": (lid,), "walls": (floor, left, far), "sides": (front, behind)}
    sides = [side for group in patches.values() for side in group]
    return Faces(
        corners=np.concatenate((corners[inner], *(side[0] for side in sides))),
        owner=np.concatenate((owner, *(side[1].ravel() for side in sides))),
        neighbour=neighbour,
        sizes={name: sum(side[1].size for side in group) for name, group in patches.items()},
    )


def cavity_points(cells: int, count: int) -> Array:
    """Return the `(count * 2 (cells + 1)^2, 3)` corners of cavities of side 1."""
    ticks = np.linspace(0.0, 1.0, cells + 1)
    offset = (1 + GAP) * np.arange(count)[:, None, None, None]
    depth = np.array((0.0, 1.0 / cells))[:, None, None]
    x, y, z = np.broadcast_arrays(offset + ticks, ticks[:, None], depth)
    return np.stack((x, y, z), -1).reshape(-1, 3)


@lru_cache(maxsize=32)
def mesh_files(cells: int, count: int) -> dict[str, bytes]:
    """Return the files of `constant/polyMesh` for `count` cavities."""
    faces = cavity_faces(cells, count)
    start, patches = len(faces.neighbour), []
    for name, size in faces.sizes.items():
        kind = "empty" if name == "sides" else "wall"
        patches.append(f"{name} {{ type {kind}; nFaces {size}; startFace {start}; }}")
        start += size
    places = np.arange(0, 4 * len(faces.corners) + 1, 4)
    corners = label_list(places) + b"\n" + label_list(faces.corners)
    note = f"nPoints:{2 * (cells + 1) ** 2 * count} nCells:{cells * cells * count} nFaces:{len(faces.owner)} "
    note += f"nInternalFaces:{len(faces.neighbour)}"
    return {
        "points": foam_file("vectorField", vector_list(cavity_points(cells, count))),
        "faces": foam_file("faceCompactList", corners),
        "owner": foam_file("labelList", label_list(faces.owner), note),
        "neighbour": foam_file("labelList", label_list(faces.neighbour), note),
        "boundary": foam_file("polyBoundaryMesh", f"{len(patches)}\n(\n{chr(10).join(patches)}\n)\n".encode()),
    }
