"""Tables of calls as people give them."""

import pytest

from napari_cln.errors import DatasetError
from napari_cln.study.comparison import read_calls
from napari_cln.study.reports.text import classify_reports


def test_each_column_is_a_reader_and_an_empty_cell_no_call(tmp_path):
    (tmp_path / "readers.csv").write_text("id,Dr A,Dr B\nf1,Malignant,\nf2/1, benign ,undetermined\n")

    assert read_calls(tmp_path / "readers.csv") == {
        "Dr A": {"f1": "malignant", "f2/1": "benign"},
        "Dr B": {"f2/1": "undetermined"},
    }


def test_the_verdicts_of_reports_are_calls(tmp_path):
    (tmp_path / "reports.csv").write_text("id,text\nf1,reactive node\nf2,metastasis\n")
    classify_reports(tmp_path / "reports.csv", tmp_path / "verdicts.csv")

    calls = read_calls(tmp_path / "verdicts.csv", "original reports")

    assert calls == {"original reports": {"f1": "benign", "f2": "malignant"}}


def test_no_cell_of_the_verdicts_is_run_as_a_formula_and_ids_are_read_back(tmp_path):
    (tmp_path / "reports.csv").write_text("id,text\n=1+1,metastasis\n@f,reactive node\n", encoding="utf-8")
    classify_reports(tmp_path / "reports.csv", tmp_path / "verdicts.csv")

    lines = (tmp_path / "verdicts.csv").read_text(encoding="utf-8").splitlines()
    calls = read_calls(tmp_path / "verdicts.csv", "original reports")
    assert [line[:2] for line in lines[1:]] == ["'=", "'@"]
    assert set(calls["original reports"]) == {"=1+1", "@f"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,A\nf1,maybe\n", r"'maybe' in line 2\. The words are malignant, benign and undetermined"),
        ("id,A\nf1,benign\nf1,malignant\n", r"two calls of A on f1\. Leave the one that holds"),
        ("frame,A\nf1,benign\n", r"has no column id; its columns are frame, A\. Give a table"),
        ("id\nf1\n", r"holds no calls\. Give a column id"),
        ("id,A\n", r"holds no calls\."),
    ],
)
def test_a_table_that_cannot_be_used_says_why(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)

    with pytest.raises(DatasetError, match=rf"t\.csv.*{message}"):
        read_calls(tmp_path / "t.csv")


def test_tables_of_a_european_spreadsheet_are_read(data, tmp_path):
    source = data / "cases" / "26_readers_semicolon"

    calls = read_calls(source / "readers.csv")
    counts = classify_reports(source / "reports.csv", tmp_path / "verdicts.csv")

    assert calls == {"reader 1": {"abc": "malignant", "def": "benign"}}
    assert counts.total() == 1
