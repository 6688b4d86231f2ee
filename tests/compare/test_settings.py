"""Settings as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zotoolkit.compare.settings import format_settings, format_value, parse_pairs, parse_value, split_list
from zotoolkit.errors import InvalidSetting

_SCALARS = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
_VALUES = st.recursive(_SCALARS | st.text(max_size=20), lambda inner: st.lists(inner, max_size=3), max_leaves=6)


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), _VALUES, max_size=4))
def test_text_reads_back_as_the_same_settings(settings: dict[str, object]) -> None:
    text = format_settings(settings)
    assert parse_pairs(split_list(text) if text else []) == settings


def test_nothing_is_evaluated() -> None:
    assert parse_value("__import__('os').getcwd()") == "__import__('os').getcwd()"
    assert parse_value("1+1") == "1+1"


@pytest.mark.parametrize("text", ["nan", "NaN", "inf", "Infinity", "-Infinity", "1_000", "0x10"])
def test_what_is_no_plain_number_stays_text(text: str) -> None:
    assert parse_value(text) == text


@pytest.mark.parametrize(("text", "value"), [(".5", 0.5), ("5.", 5.0), ("+2", 2.0), ("1e-3", 1e-3), ("-7", -7)])
def test_numbers(text: str, value: float) -> None:
    assert parse_value(text) == value


@pytest.mark.parametrize("text", ["lr", "=3", " =3", ""])
def test_a_pair_needs_a_key_and_an_equals_sign(text: str) -> None:
    with pytest.raises(InvalidSetting, match="key=value"):
        parse_pairs([text])


def test_a_key_comes_once() -> None:
    with pytest.raises(InvalidSetting, match="'lr' is given twice"):
        parse_pairs(["lr=1", "lr=2"])


def test_text_that_looks_like_something_else_is_quoted() -> None:
    assert [format_value(text) for text in ("", "7", "a,b", "a=b", "null")] == ['""', '"7"', '"a,b"', '"a=b"', '"null"']
