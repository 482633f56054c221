"""Cells of tables: no text is run by a spreadsheet, every number is the one that was written."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_cln.disk.cells import defused, one_line, parse_number, parse_whole, restored

HOSTILE = st.text(st.sampled_from("=+-@\t\r\n'\",;| aä\u200b\ufeff\x00＝＠"), max_size=14) | st.text(
    max_size=14
)
STARTS = "=+-@\t\r\n＝＋－＠"


@given(text=HOSTILE)
def test_what_was_defused_is_restored_exactly(text):
    assert restored(defused(text)) == text


@given(text=HOSTILE)
def test_no_cell_begins_like_a_formula_whichever_separator_is_meant(text):
    cells = re.split(r"[,;|\t\r\n\"]", defused(text))

    # blanks, controls and signs without a width are passed over by spreadsheets
    beginnings = [re.sub(r"^[\s\x00-\x1f\u200b\ufeff]+", "", cell)[:1] for cell in cells]
    assert not [start for start in beginnings if start and start in STARTS]


@given(text=st.text(st.characters(codec="utf-8", exclude_characters=STARTS)))
def test_text_without_a_sign_of_formulas_stays_as_it_is(text):
    assert defused(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("=1+1.png", "'=1+1.png"),
        ("neck/-a.dcm", "neck/-a.dcm"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ('a;"=1', "a;\"'=1"),
        (" \u200b=1", " \u200b'=1"),
        ("'=1", "''=1"),
    ],
)
def test_an_apostrophe_stands_before_a_formula(text, expected):
    assert defused(text) == expected


@given(text=st.text())
def test_any_text_becomes_one_printable_line_of_utf_8(text):
    line = one_line(text)

    assert line.isprintable()
    assert line.encode().decode() == line
    assert one_line(line) == line


@given(number=st.floats(allow_nan=False, allow_infinity=False), sign=st.sampled_from(".,"))
def test_every_number_is_read_back_with_point_and_with_comma(number, sign):
    assert parse_number(f" {number!r} ".replace(".", sign)) == number


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0,5", 0.5), ("0.5", 0.5), ("+.5", 0.5), ("12", 12.0), ("-3,5e-2", -0.035), ("0e-999", 0.0)],
)
def test_numbers_as_people_write_them(text, expected):
    assert parse_number(text) == expected


REFUSED = """1.234,5 1,234.5 1,234,567 1'000 1_000 5. 1..2 --1 1e 1e1.5 nan inf -inf 0x10 ½ ٣ ５"""


@pytest.mark.parametrize("text", ["", "1 000", "0,5 mm", *REFUSED.split()])
def test_what_is_not_one_number_is_refused_with_its_text(text):
    with pytest.raises(
        ValueError, match=rf"{re.escape(repr(text))} is not one number\. Write it with digits"
    ):
        parse_number(text)


@pytest.mark.parametrize(("text", "size"), [("1e400", "large"), ("-1e999999", "large"), ("1e-400", "small")])
def test_a_number_is_never_clamped(text, size):
    with pytest.raises(ValueError, match=rf"{re.escape(repr(text))} is too {size} for a number here"):
        parse_number(text)


@given(text=st.text(st.sampled_from("0123456789.,eE+- ½５x'_"), max_size=8) | st.text(max_size=8))
def test_any_text_is_one_finite_number_or_a_sentence(text):
    try:
        number = parse_number(text)
    except ValueError as error:
        assert str(error).endswith(".")
    else:
        assert math.isfinite(number)
        assert number == float(text.strip().replace(",", "."))


@given(number=st.integers(-(10**18) + 1, 10**18 - 1))
def test_every_whole_number_is_read_back(number):
    assert parse_whole(f" {number} ") == number


@pytest.mark.parametrize("text", ["", "1.0", "1e3", "٣", "1_0", "0x1", "one", "- 1"])
def test_what_is_not_a_whole_number_is_refused(text):
    with pytest.raises(ValueError, match=r"is not a whole number\. Write it with digits alone"):
        parse_whole(text)


def test_a_whole_number_of_many_digits_is_refused():
    with pytest.raises(ValueError, match="has more than 18 digits"):
        parse_whole("9" * 5000)
