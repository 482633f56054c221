"""Tables as spreadsheets write them, read one way."""

import csv
import io
import zipfile

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from openpyxl import Workbook

from napari_cln.disk.tables import read_table, write_table
from napari_cln.errors import DatasetError

ROWS = [["image", "label", "patient"], ["Kröger_1.png", "bösartig", "Ü-12"], ["b.png", "gut, eher", "0012"]]
CHINESE = [["image", "诊断"], ["甲.png", "转移"], ["乙.png", "良性淋巴结反应性增生"]]


def text_of(rows, separator):
    stream = io.StringIO()
    csv.writer(stream, delimiter=separator).writerows(rows)
    return stream.getvalue()


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
def test_every_dialect_gives_the_same_table(tmp_path, separator, encoding):
    path = tmp_path / "t.csv"
    path.write_bytes(text_of(ROWS, separator).encode(encoding))

    table = read_table(path)

    assert table.headings == ("image", "label", "patient")
    assert [list(row.values()) for row in table.rows] == ROWS[1:]
    assert table.lines == [2, 3]


def test_chinese_spreadsheets_are_read(tmp_path):
    (tmp_path / "t.csv").write_bytes(text_of(CHINESE, ",").encode("gb18030"))

    table = read_table(tmp_path / "t.csv")

    assert [list(row.values()) for row in table.rows] == CHINESE[1:]
    assert table.read_as == "GB 18030 with commas"


def test_excels_own_line_about_the_separator_is_no_heading(tmp_path):
    (tmp_path / "t.csv").write_text("sep=;\r\na;b\r\n1,5;2\r\n")

    assert read_table(tmp_path / "t.csv").rows == [{"a": "1,5", "b": "2"}]


def test_a_workbook_gives_its_cells_as_text(tmp_path):
    book = Workbook()
    for row in (["id", "patient", "n"], ["a.png", "0012", 12.0], ["b.png", 7, 1.5], [None, None, None]):
        book.active.append(row)
    book.save(tmp_path / "t.xlsx")

    assert read_table(tmp_path / "t.xlsx").rows == [
        {"id": "a.png", "patient": "0012", "n": "12"},
        {"id": "b.png", "patient": "7", "n": "1.5"},
    ]


def bomb() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/workbook.xml", "<x/>")
        with archive.open("xl/worksheets/sheet1.xml", "w", force_zip64=True) as sheet:
            for _ in range(1100):
                sheet.write(bytes(2**20))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("t.csv", b"", "is empty"),
        ("t.csv", b"\n\n", "is empty"),
        ("t.csv", b"a,a\n1,2\n", "has the column 'a' twice"),
        ("t.csv", b"a,b\n1,2,3\n", "more cells in line 2 than headings: '3'"),
        ("t.csv", b'a,b\n"1,2\n', "is not a readable table"),
        ("t.csv", b"a,b\n1,\0\n", "holds zero bytes"),
        ("t.csv", b"a\n\x81b\n", "is no text in UTF-8"),
        (
            "t.csv",
            "a\nKröger\n".encode() + "ä\n".encode("cp1252") * 1 + "öö\nüü\n".encode(),
            "is no text in UTF-8",
        ),
        ("t.xls", b"\xd0\xcf\x11\xe0" + bytes(600), "Save it as XLSX or as CSV"),
        ("t.xlsx", b"PK\x03\x04" + bytes(600), "not a readable XLSX workbook"),
        ("t.xlsx", bomb(), "unpacks to more than a table can hold"),
    ],
)
def test_what_is_no_table_says_why(tmp_path, name, data, words):
    (tmp_path / name).write_bytes(data)

    with pytest.raises(DatasetError, match=rf"{name}.*{words}"):
        read_table(tmp_path / name)


def test_a_workbook_of_several_sheets_names_them(tmp_path):
    book = Workbook()
    book.active.append(["a"])
    book.create_sheet("second").append(["b"])
    book.save(tmp_path / "t.xlsx")

    with pytest.raises(DatasetError, match=r"has 2 sheets: Sheet, second"):
        read_table(tmp_path / "t.xlsx")


CELL = st.text(
    st.characters(
        codec="utf-8", exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"], exclude_characters="\ufeff"
    ),
    min_size=1,
    max_size=8,
)


@given(st.lists(st.lists(CELL, min_size=2, max_size=2), min_size=1, max_size=6), st.sampled_from(",;\t"))
def test_what_a_spreadsheet_writes_comes_back(tmp_path_factory, rows, separator):
    text = text_of([["first", "second"], *rows], separator)
    assume("\0" not in text)
    path = tmp_path_factory.mktemp("t") / "t.csv"
    path.write_bytes(text.encode())

    assert [list(row.values()) for row in read_table(path).rows] == rows


@given(st.binary(max_size=300))
def test_no_bytes_end_in_anything_but_a_table_or_its_sentence(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("t") / "t.csv"
    path.write_bytes(data)
    try:
        read_table(path)
    except DatasetError as error:
        assert "t.csv" in str(error)


def test_merged_cells_are_refused(tmp_path):
    book = Workbook()
    for row in (["image", "patient"], ["a.png", "P1"], ["b.png", None]):
        book.active.append(row)
    book.active.merge_cells("B2:B3")
    book.save(tmp_path / "t.xlsx")

    with pytest.raises(DatasetError, match=r"merged cells \(B2:B3\)"):
        read_table(tmp_path / "t.xlsx")


def test_a_formula_without_a_value_is_refused(tmp_path):
    book = Workbook()
    for row in (["image", "patient"], ["a.png", '="P"&1']):
        book.active.append(row)
    book.save(tmp_path / "t.xlsx")

    with pytest.raises(DatasetError, match="formula without a value in cell B2"):
        read_table(tmp_path / "t.xlsx")


def test_a_negative_number_is_written_as_one_and_a_formula_is_not(tmp_path):
    write_table(tmp_path / "t.csv", ["a"], [["-0.5"], ["-3e-07"], ["-1+2"], ["=1"]])

    assert (tmp_path / "t.csv").read_text().splitlines() == ["a", "-0.5", "-3e-07", "'-1+2", "'=1"]
