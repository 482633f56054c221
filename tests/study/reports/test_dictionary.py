"""Reading of reports, on sentences written before the first rule (report_sentences.csv)."""

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_cln.errors import DatasetError, ExportError
from napari_cln.study.reports.text import classify_reports, load_dictionary, read_report

HERE = Path(__file__).parent
BUNDLED = Path(load_dictionary.__code__.co_filename).parent / "dictionary.toml"

KNOWN_FAILURES = {"en079", "en104"}
"""Listed with their reasons in docs/how-to/reports.md; rules were not changed after seeing them."""


def sentences(name):
    with (HERE / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


TEST_SET = sentences("report_sentences.csv")


def test_the_test_set_is_large_and_holds_every_kind():
    assert len(TEST_SET) >= 150
    assert {"plain", "negation", "scope", "doubt", "silent", "elsewhere"} == {s["kind"] for s in TEST_SET}


def test_just_the_failures_that_the_docs_list_are_wrong():
    wrong = {s["id"] for s in TEST_SET if read_report(s["text"]).label != s["label"]}

    assert wrong == KNOWN_FAILURES


@pytest.mark.parametrize("sentence", sentences("report_sentences_development.csv"), ids=lambda s: s["id"])
def test_the_development_sentences_are_read(sentence):
    assert read_report(sentence["text"]).label == sentence["label"]


@given(st.lists(st.sampled_from(TEST_SET), max_size=4), st.sampled_from([" ", "\n", " ... ", "\uff1b"]))
def test_evidence_points_at_the_words_of_the_report(parts, between):
    report = between.join(part["text"] for part in parts)

    for finding in read_report(report).findings:
        assert report[finding.start : finding.end] == finding.text


@given(st.text(max_size=80))
def test_any_text_has_a_label(text):
    assert read_report(text).label in ("malignant", "benign", "undetermined")


def test_each_sentence_keeps_its_own_place():
    reading = read_report(
        "Metastatic node at left level IV. Reactive nodes at right levels II to IV. 左颈Ⅲ、Ⅳ区未见转移。"
    )

    assert [(f.sides, f.levels, f.status) for f in reading.findings] == [
        (("left",), ("IV",), "affirmed"),
        (("right",), ("II", "III", "IV"), "affirmed"),
        (("left",), ("III", "IV"), "negated"),
    ]


@pytest.mark.parametrize(
    "said",
    ["levels II to IV", "levels IV to II", "levels IV-II", "levels IV–II", "levels 4 through 2",
     "levels IVa to IIb", "levels II, III and IV", "levels 2, 3, 4", "levels II, III, and IV",
     "Ⅳ至Ⅱ区", "Ⅱ到Ⅳ区", "IV-II区", "IV～II区"],
)  # fmt: skip
def test_a_range_of_levels_is_read_in_both_directions(said):
    (finding,) = read_report(f"Metastatic: {said}.").findings

    assert finding.levels == ("II", "III", "IV")


@pytest.mark.parametrize(
    ("said", "levels"),
    [
        ("levels VI, IV to II", ("II", "III", "IV", "VI")),
        ("levels V to IV and II", ("II", "IV", "V")),
        ("levels IV, II", ("II", "IV")),
        ("levels IV and II", ("II", "IV")),
        ("level II, 4 mm", ("II",)),
        ("level II, 4 x 3 mm", ("II",)),
        ("level II, 4.5 mm", ("II",)),
        ("level 2, 3 nodes", ("II",)),
    ],
)
def test_levels_beside_a_range_are_read(said, levels):
    (finding,) = read_report(f"Metastatic node at {said}.").findings

    assert finding.levels == levels


def test_a_clause_keeps_its_own_side():
    normal, metastatic = read_report("Normal nodes on the right, metastatic node on the left.").findings

    assert (normal.sides, metastatic.sides) == (("right",), ("left",))


def test_both_sides_are_left_and_right():
    assert read_report("Bilateral reactive nodes.").findings[0].sides == ("left", "right")


def test_calcium_is_not_cancer():
    assert read_report("The patient takes ca 500 mg calcium. Nodes normal.").label == "benign"
    assert read_report("Node: CA.").label == "malignant"


def test_full_width_signs_are_read_and_quoted_as_written():
    finding = read_report("颈部淋巴结\uff23\uff21转移\uff1f").findings[0]

    assert (finding.text, finding.status) == ("\uff23\uff21", "doubted")


def test_an_empty_report_is_undetermined():
    assert read_report("").label == "undetermined"
    assert read_report("").findings == ()


def test_a_hospital_adds_its_own_word(tmp_path):
    own = tmp_path / "ours.toml"
    own.write_text(BUNDLED.read_text("utf-8").replace('"mets",', '"mets", "bad node*",'), "utf-8")

    assert read_report("Bad nodes in the neck.").label == "undetermined"
    assert read_report("Bad nodes in the neck.", load_dictionary(own)).label == "malignant"
    assert read_report("No bad nodes.", load_dictionary(own)).label == "benign"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[concept]", r"ours\.toml is not a readable dictionary.*Compare it with dictionary\.toml"),
        ("[negated]\nbefore = []\n", r"ours\.toml lacks a part.*'concept'"),
        (
            '[[concept]]\nname = "x"\nlabel = "bad"\nwords = []\n',
            r"label 'bad' of 'x' is none of malignant, benign",
        ),
    ],
)
def test_a_broken_dictionary_says_what_is_wrong(tmp_path, text, message):
    own = tmp_path / "ours.toml"
    own.write_text(text, "utf-8")

    with pytest.raises(DatasetError, match=message):
        load_dictionary(own)


def test_a_dictionary_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"^none\.toml can't be read"):
        load_dictionary(tmp_path / "none.toml")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_reports_in_a_table_become_labels_in_a_table(tmp_path, encoding):
    source, out = tmp_path / "reports.csv", tmp_path / "out.csv"
    source.write_text(
        'id,text\na1,"No metastasis, normal nodes."\na2,左颈淋巴结转移。\na3,\n', encoding, newline=""
    )

    counts = classify_reports(source, out)

    with out.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["id"], row["label"]) for row in rows] == [
        ("a1", "benign"),
        ("a2", "malignant"),
        ("a3", "undetermined"),
    ]
    assert rows[1]["evidence"] == 'malignant "转移" [5:7] affirmed, left'
    assert counts == {"benign": 1, "malignant": 1, "undetermined": 1}


def test_a_table_without_text_says_which_column_is_missing(tmp_path):
    source = tmp_path / "reports.csv"
    source.write_text("id,report\na1,normal\n", "utf-8")

    with pytest.raises(
        DatasetError, match=r"reports\.csv has no column text; its columns are id, report\. Give a table"
    ):
        classify_reports(source, tmp_path / "out.csv")


def test_a_file_that_is_no_text_is_refused(tmp_path):
    source = tmp_path / "reports.csv"
    source.write_bytes(b"id,text\na,\x81b\n")

    with pytest.raises(DatasetError, match=r"no text in UTF-8, UTF-16, Windows-1252 or GB 18030"):
        classify_reports(source, tmp_path / "out.csv")


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    source = tmp_path / "reports.csv"
    source.write_text("id,text\na1,normal nodes\n", "utf-8")

    with pytest.raises(ExportError, match=r"^out\.csv can't be written"):
        classify_reports(source, tmp_path / "missing" / "out.csv")
