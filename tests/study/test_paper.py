"""Which rows of the paper's Table 3 are the figures of some two by two table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_cln.study.statistics.metrics import PRINTED_ROWS, Counts, PrintedRow, closing_tables, measures

BOTH, CLASS_ALONE, REPORTS = PRINTED_ROWS


def test_the_first_row_closes_in_one_way_and_not_with_the_classes_of_the_text():
    assert closing_tables(BOTH, 547) == (Counts(tp=158, fn=118, tn=236, fp=35),)
    assert (158 + 118, 236 + 35) != (240, 307)


@pytest.mark.parametrize("row", [CLASS_ALONE, REPORTS], ids=lambda row: row.name)
@pytest.mark.parametrize("n", [547, 3059])
def test_the_other_rows_do_not_close(row, n):
    assert closing_tables(row, n) == ()


def test_the_second_row_nearly_closes_with_its_columns_exchanged():
    table = measures(tp=219, fn=57, tn=232, fp=39)

    exchanged = [table[name] for name in ("ppv", "npv", "accuracy", "sensitivity", "specificity")]

    assert [round(100 * value, 2) for value in exchanged] == [84.88, 80.28, 82.45, 79.35, 85.61]


def test_the_third_row_is_the_whole_set_but_for_its_specificity():
    table = measures(tp=1450, fn=74, tn=528, fp=1007)

    assert [round(100 * table[name], 2) for name in ("sensitivity", "accuracy", "ppv", "npv")] == [
        95.14,
        64.66,
        59.02,
        87.71,
    ]
    assert round(100 * table["specificity"], 2) == 34.40


@given(st.tuples(*[st.integers(1, 80)] * 4))
def test_the_table_behind_any_printed_row_is_found(cells):
    table = Counts(*cells)
    names = ("sensitivity", "specificity", "accuracy", "ppv", "npv")
    printed = {name: round(100 * value, 2) for name, value in measures(*table).items() if name in names}

    assert table in closing_tables(PrintedRow(name="", **printed), table.n)
