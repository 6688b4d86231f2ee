"""A picture that a problem draws of what solvers found: PNG or GIF, with words for those who cannot see it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from zotoolkit.errors import InvalidSetting, brief

ENDINGS = ("png", "gif")
_NAME = re.compile(r"[a-z0-9][a-z0-9+_-]*")
_PNG, _GIFS = b"\x89PNG\r\n\x1a\n", (b"GIF87a", b"GIF89a")
_PNG_HEAD, _GIF_HEAD = 24, 10  # bytes, the size among them


@dataclass(frozen=True)
class Drawing:
    r"""A picture, drawn.

    Args:
        name: File name without ending: small letters, digits, "+", "_" and "-".
        caption: What it shows, in words that stand alone: of which data, over how long.
        content: Of a PNG or GIF file.

    Raises:
        InvalidSetting: If the name is no such file name, the caption is empty, or the content neither PNG nor GIF.

    Examples:
        >>> Drawing("wake", "Vorticity.", b"not a picture")
        Traceback (most recent call last):
        ...
        zotoolkit.errors.InvalidSetting: content of 'wake' must be that of a PNG or GIF file, got b'not a picture'
        (bytes).
    """

    name: str
    caption: str
    content: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise InvalidSetting(f"name must be a file name such as 'error-over-time', got {brief(self.name)}.")
        if not isinstance(self.caption, str) or not self.caption.strip():
            raise InvalidSetting(f"caption of {self.name!r} must say what is shown, got {brief(self.caption)}.")
        content = self.content
        png = isinstance(content, bytes) and content.startswith(_PNG) and len(content) >= _PNG_HEAD
        gif = isinstance(content, bytes) and content.startswith(_GIFS) and len(content) >= _GIF_HEAD
        if not png and not gif:
            raise InvalidSetting(f"content of {self.name!r} must be that of a PNG or GIF file, got {brief(content)}.")

    @property
    def ending(self) -> str:
        """Of the file: "png" or "gif"."""
        return ENDINGS[0] if self.content.startswith(_PNG) else ENDINGS[1]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, as the file says them."""
        if self.ending == "png":
            return int.from_bytes(self.content[16:20], "big"), int.from_bytes(self.content[20:24], "big")
        return int.from_bytes(self.content[6:8], "little"), int.from_bytes(self.content[8:10], "little")
