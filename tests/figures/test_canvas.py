"""Labels beside curves, and figures as files."""

from __future__ import annotations

import itertools
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zotoolkit.errors import MissingExtra
from zotoolkit.figures.canvas import canvas, check_matplotlib, encoded, spread


@given(
    wanted=st.lists(st.floats(0, 100), min_size=1, max_size=8),
    gap=st.floats(0.1, 12),
)
def test_labels_never_overlap_and_keep_their_order(wanted: list[float], gap: float) -> None:
    given_places = {str(i): place for i, place in enumerate(wanted)}
    found = spread(given_places, gap, 100.0)
    places = list(found.values())
    assert set(found) == set(given_places)
    assert all(later - earlier >= gap * (1 - 1e-9) - 1e-9 for earlier, later in itertools.pairwise(places))
    assert [given_places[name] for name in found] == sorted(wanted)
    assert min(places) >= 0
    assert max(places) <= 100 + 1e-9
    if all(b - a >= gap for a, b in itertools.pairwise(sorted(wanted))):
        assert found == {name: given_places[name] for name in found}


def test_the_same_figure_gives_the_same_bytes() -> None:
    pytest.importorskip("matplotlib")
    for ending, beginning in (("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")):
        contents = set()
        for _ in range(2):
            with canvas(["a"]) as (figure, axes):
                axes.plot([0.0, 1.0], [0.0, 1.0])
                contents.add(encoded(figure, ending, "line"))
        (content,) = contents
        assert content.startswith(beginning)


def test_matplotlib_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"pip install 'zotoolkit\[plot\]'"):
        check_matplotlib()
