"""Pictures that problems draw: what they must say of themselves."""

from __future__ import annotations

from typing import Any

import pytest

from tests.compare.toy_problems import GIF, png
from zotoolkit.errors import InvalidSetting
from zotoolkit.figures import Drawing


def test_kind_and_size_are_read_from_the_content() -> None:
    still, film = Drawing("a", "A.", png(300, 200)), Drawing("b-2_c+", "B.", GIF)
    assert (still.ending, still.size) == ("png", (300, 200))
    assert (film.ending, film.size) == ("gif", (1, 1))
    assert "PNG" not in repr(still)


@pytest.mark.parametrize("name", ["", "../a", "a/b", "A", "a.png", ".a", "a b", "-a", 3, None])
def test_names_that_are_no_file_names(name: Any) -> None:
    with pytest.raises(InvalidSetting, match="name must be a file name such as"):
        Drawing(name, "A.", GIF)


@pytest.mark.parametrize("caption", ["", "  ", None, 3])
def test_captions_that_say_nothing(caption: Any) -> None:
    with pytest.raises(InvalidSetting, match="caption of 'a' must say what is shown"):
        Drawing("a", caption, GIF)


@pytest.mark.parametrize("content", [b"", b"<svg/>", GIF[:6], png()[:12], "GIF89a", None])
def test_contents_that_are_no_picture(content: Any) -> None:
    with pytest.raises(InvalidSetting, match="content of 'a' must be that of a PNG or GIF file"):
        Drawing("a", "A.", content)
