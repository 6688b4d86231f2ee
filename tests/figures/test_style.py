"""Looks of curves."""

from __future__ import annotations

from zotoolkit.figures.style import INK, styles


def test_many_solvers_look_different() -> None:
    names = [f"solver {i}" for i in range(25)]
    looks = styles([*names, "reference"], ["reference"])
    assert len({(look.colour, str(look.dashes), look.marker) for look in looks.values()}) == 26
    assert looks["reference"].colour == INK
    assert [looks[name].colour for name in names].count(INK) == 0
