"""The pressure step by a direct solve: the velocity on a staggered grid is made free of divergence around an obstacle.

The pressure p is 0 outside the rectangle, and no flow goes through the faces F between fluid and obstacle. Let D be the
divergence, G the gradient, L = D G the Laplacian of the whole rectangle without an obstacle. A velocity v that is 0 at
closed faces becomes

    v - g on open faces,   g = G L^-1 D (v + E s),   s = g at the faces F,

where E s puts values on these faces only: with them the rectangle's own solution leaves no flow through F. Eliminating
g gives s = (I - E' H E)^-1 E' H v with H = G L^-1 D, a system as small as the obstacle's edge is short, which is
inverted once, in float64 (a source that is constant on the obstacle changes nothing outside; the pseudo-inverse
leaves it out). L^-1 is a sine transform each way, as products with matrices, and G is merged into the way back: what
is rounded is the gradient, not the larger pressure. No tolerance, no iteration: the cost does not depend on the data.

Source: Buzbee, Dorr, George and Golub, SIAM J. Numer. Anal. 8(4), 1971 (capacitance matrix method); Buzbee, Golub and
Nielson, SIAM J. Numer. Anal. 7(4), 1970 (direct Poisson solvers by sine transforms).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from problems.pde.simulators.wake.geometry import open_faces
from problems.pde.simulators.wake.staggered import divergence

_NULL = 1e-10  # eigenvalues below it belong to constants on the obstacle; the next is far above


@dataclass(frozen=True)
class _Matrices:
    """Constants of one dtype and device."""

    down: Tensor  # (rows, rows), sine transform
    across: Tensor  # (columns, columns)
    inverse: Tensor  # (rows, columns), 1 / eigenvalues of the Laplacian
    back_down: Tensor  # (rows + 1, rows), the transform back with a row of zeros
    back_across: Tensor  # (columns, columns + 1)
    slope_down: Tensor  # (rows + 1, rows), differences of the transform back
    slope_across: Tensor  # (columns, columns + 1)
    correction: Tensor  # (k, 2 (rows + 1) (columns + 1))
    open: Tensor  # (2, rows + 1, columns + 1)
    fluid: Tensor  # (rows, columns)
    factors: Tensor  # (2, rows + 1, columns + 1)


class Projection:
    """Takes the divergence out of velocities around an obstacle.

    Args:
        solid: `(rows, columns)` bool, the obstacle's cells: away from the border; all False for no obstacle.
        soft: `(2, rows + 1, columns + 1)` factors that the velocity takes first; None for the open faces alone.

    Attributes:
        open: `(2, rows + 1, columns + 1)` float64, 1 where a face is open.
    """

    def __init__(self, solid: Tensor, soft: Tensor | None = None) -> None:
        self.open = open_faces(solid)
        self._is_soft = soft is not None
        self._faces = _edge_faces(solid)
        factors = self.open if soft is None else soft
        self._exact = _with_correction(_plain_matrices(solid, self.open, factors), self._faces)
        self._kept: dict[tuple[torch.device, torch.dtype], tuple[_Matrices, Tensor]] = {}

    def __call__(self, velocity: Tensor) -> Tensor:
        """Return `(B, 2, rows + 1, columns + 1)` velocities without divergence, 0 at closed faces and where is no face.

        With soft factors, velocities at faces that are closed stay what the factors leave of them, as in PhiFlow 3.4,
        and what they carry into the fluid is balanced there.
        """
        at, faces = self._constants(velocity)
        velocity = velocity * at.factors
        source = divergence(velocity)
        if self._is_soft:
            source = source * at.fluid
        gradient = _gradient(source, at)
        if len(faces):
            flat = gradient.flatten(1)
            gradient = torch.addmm(flat, flat.index_select(1, faces), at.correction).view_as(gradient)
        return torch.addcmul(velocity, gradient, at.open, value=-1.0)

    def _constants(self, like: Tensor) -> tuple[_Matrices, Tensor]:
        key = (like.device, like.dtype)
        if key not in self._kept:
            matrices = _Matrices(**{name: value.to(*key) for name, value in vars(self._exact).items()})
            self._kept[key] = matrices, self._faces.to(like.device)
        return self._kept[key]


def _gradient(source: Tensor, at: _Matrices) -> Tensor:
    """Return `(B, 2, rows + 1, columns + 1)`: the gradient of the pressure whose Laplacian is `(B, rows, columns)`."""
    spectrum = torch.matmul(at.down, torch.matmul(source, at.across)) * at.inverse
    down = torch.matmul(at.slope_down, torch.matmul(spectrum, at.back_across))
    across = torch.matmul(at.back_down, torch.matmul(spectrum, at.slope_across))
    return torch.stack((down, across), 1)


def _plain_matrices(solid: Tensor, faces: Tensor, factors: Tensor) -> _Matrices:
    """Return the matrices of the rectangle, without a correction for the obstacle."""
    rows, columns = solid.shape
    down, down_values = _sine_transform(rows)
    across, across_values = _sine_transform(columns)
    edge_down, edge_across = down.new_zeros(1, rows), across.new_zeros(columns, 1)
    return _Matrices(
        down=down,
        across=across,
        inverse=-1 / (down_values[:, None] + across_values),
        back_down=torch.cat((down, edge_down)),
        back_across=torch.cat((across, edge_across), 1),
        slope_down=torch.cat((edge_down, down, edge_down)).diff(dim=0),
        slope_across=torch.cat((edge_across, across, edge_across), 1).diff(dim=1),
        correction=down.new_zeros(0, faces.numel()),
        open=faces,
        fluid=(~solid).double(),
        factors=factors,
    )


def _with_correction(plain: _Matrices, faces: Tensor) -> _Matrices:
    """Return the matrices with the correction for the `(k,)` faces between fluid and obstacle."""
    if not len(faces):
        return plain
    units = torch.zeros(len(faces), *plain.open.shape, dtype=torch.float64)
    units.flatten(1)[torch.arange(len(faces)), faces] = 1.0
    responses = _gradient(divergence(units), plain).flatten(1)
    capacitance = torch.eye(len(faces), dtype=torch.float64) - responses[:, faces]
    capacitance = (capacitance + capacitance.T) / 2
    correction = torch.linalg.pinv(capacitance, rtol=_NULL, hermitian=True) @ responses
    return _Matrices(**{**vars(plain), "correction": correction})


def _sine_transform(size: int) -> tuple[Tensor, Tensor]:
    """Return the orthogonal, symmetric `(n, n)` sine transform and the `(n,)` eigenvalues of -(1, -2, 1)."""
    number = torch.arange(1, size + 1, dtype=torch.float64)
    angle = math.pi * number / (size + 1)
    return math.sqrt(2 / (size + 1)) * torch.sin(angle[:, None] * number), 4 * torch.sin(angle / 2) ** 2


def _edge_faces(solid: Tensor) -> Tensor:
    """Return the `(k,)` places of the faces between fluid and solid in a flat `(2, rows + 1, columns + 1)` array."""
    rows, columns = solid.shape
    edge = torch.zeros(2, rows + 1, columns + 1, dtype=torch.bool)
    edge[0, 1:-1, :-1] = solid[1:] ^ solid[:-1]
    edge[1, :-1, 1:-1] = solid[:, 1:] ^ solid[:, :-1]
    return edge.flatten().nonzero().flatten()
