"""Settings written as text: `key=value`, the value a JSON literal or else plain text. Nothing is evaluated."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from zotoolkit.errors import InvalidSetting

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_WORDS = {"True": True, "False": False, "None": None}
_OPENING = {"[": "]", "{": "}"}


def parse_value(text: str) -> Any:
    """Return what a value's text stands for.

    Args:
        text: A JSON literal, a number such as `.5`, Python's `True`, `False` or `None`, or any other text, which stays
            text.

    Examples:
        >>> [parse_value(text) for text in ("0.1", ".5", "null", "true", "[1, 2]", "central", '"7"')]
        [0.1, 0.5, None, True, [1, 2], 'central', '7']
    """
    text = text.strip()
    if text in _WORDS:
        return _WORDS[text]
    if text in ("NaN", "Infinity", "-Infinity"):  # json reads them as numbers, JSON itself does not know them
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return float(text) if _NUMBER.fullmatch(text) else text


def parse_pair(text: str) -> tuple[str, Any]:
    """Return the key and the value of `key=value`.

    Raises:
        InvalidSetting: If the text does not read so.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise InvalidSetting(f"a setting reads key=value, such as lr=0.1, got {text!r}.")
    return key.strip(), parse_value(value)


def parse_pairs(texts: Iterable[str]) -> dict[str, Any]:
    """Return the settings that several `key=value` texts stand for.

    Raises:
        InvalidSetting: If one does not read so, or a key comes twice.
    """
    settings: dict[str, Any] = {}
    for text in texts:
        key, value = parse_pair(text)
        if key in settings:
            raise InvalidSetting(f"the setting {key!r} is given twice.")
        settings[key] = value
    return settings


def split_list(text: str) -> list[str]:
    """Split at the commas that stand outside brackets and quotes.

    Examples:
        >>> split_list('dim=3,low=[-1,-2],name="a,b"')
        ['dim=3', 'low=[-1,-2]', 'name="a,b"']
    """
    parts, begin, closing, quoted = [], 0, [], False
    for i, letter in enumerate(text):
        if letter == '"' and (i == 0 or text[i - 1] != "\\"):
            quoted = not quoted
        elif quoted:
            continue
        elif letter in _OPENING:
            closing.append(_OPENING[letter])
        elif closing and letter == closing[-1]:
            closing.pop()
        elif letter == "," and not closing:
            parts.append(text[begin:i])
            begin = i + 1
    return [*parts, text[begin:]]


def format_value(value: Any) -> str:
    """Return the text that `parse_value` reads back as the value.

    Examples:
        >>> [format_value(value) for value in (0.1, None, True, "central", "7")]
        ['0.1', 'null', 'true', 'central', '"7"']
    """
    if isinstance(value, str) and value and parse_value(value) == value and not set(value) & set(',="[]{}'):
        return value
    return json.dumps(value, default=str)


def format_settings(settings: dict[str, Any]) -> str:
    """Return the settings as `key=value,key=value`."""
    return ",".join(f"{key}={format_value(value)}" for key, value in settings.items())
