"""The report as its readers see it: text of the page and of the PDF, plots, table, no secrets."""

import json
import re
import zlib
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from drawn_frames import FAR, LEFT, RIGHT, annotation, prediction, random_rows, rows_from_counts
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure

from napari_cln.errors import ExportError
from napari_cln.study.cases import read_rows
from napari_cln.study.evaluation import EvaluationConfig, evaluate, evaluate_rows
from napari_cln.study.report import report_sections, write_report
from napari_cln.study.report.checklist import reporting_items
from napari_cln.study.report.overview import overview
from napari_cln.study.report.pages import (
    Plot,
    ReportTable,
    interval,
    number,
    p_value,
    percent,
    percentage,
    with_interval,
)
from napari_cln.study.report.printing import BOTTOM, _columns, _Pages, html_page
from napari_cln.study.statistics.intervals import proportion

pytestmark = pytest.mark.slow  # to draw a report takes seconds
VENDOR = "<script>alert(1)</script> & 东芝 $x$"
FAST = EvaluationConfig(resamples=200, prevalence=0.2, data="Drawn rectangles, for the tests.")


class Page(HTMLParser):
    """Text and tags of a page; fails where a tag is not closed."""

    def __init__(self, text):
        super().__init__()
        self.words, self.open, self.tags, self.attributes = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


@pytest.fixture(scope="module")
def drawn():
    places = [(LEFT,), (RIGHT,), (FAR,), (LEFT, RIGHT), (), (LEFT,)]
    truths = []
    for i, truth in enumerate(["metastatic", "benign", "metastatic", "benign", "metastatic", "benign"]):
        one = annotation(LEFT, truth=truth)
        pixels = one.frame.pixels.copy()
        pixels[0, 0] = i
        frame = replace(one.frame, pixels=pixels, patient_id=f"p{i}", vendor=VENDOR)
        truths.append(replace(one, frame=frame, note="DOE JANE", annotator="Dr Who"))
    calls = {f"p{i}": "benign" for i in range(6)}
    evaluation = evaluate(truths, [prediction(*place) for place in places], FAST)
    ids = [row.id for row in evaluation.rows if row.kind == "node"]
    return evaluate(
        truths,
        [prediction(*place) for place in places],
        FAST,
        readers={"original reports": dict.fromkeys(ids, "malignant") | calls},
    )


@pytest.fixture(scope="module")
def report(drawn, tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "new" / "folder"
    return write_report(drawn, out)


@pytest.fixture(scope="module")
def page(report):
    return Page(report.read_text("utf-8"))


def test_the_folder_holds_page_pdf_and_table(report, drawn):
    names = ["cases.csv", "report.html", "report.json", "report.pdf"]
    assert sorted(p.name for p in report.parent.iterdir()) == names
    assert read_rows(report.parent / "cases.csv") == list(drawn.rows)


def test_no_tile_stands_alone_below_the_others():
    assert [_columns(tiles) for tiles in range(7)] == [0, 1, 2, 3, 2, 3, 3]


def test_other_programs_can_read_the_first_screen(report, drawn):
    said = json.loads((report.parent / "report.json").read_text("utf-8"))

    assert said["tiles"][0] == {
        "name": "Sensitivity",
        "value": percent(drawn.nodes["sensitivity"].estimate.value),
        "detail": overview(drawn).tiles[0].detail,
    }
    assert said["notes"][0] == "For research, not for diagnosis."
    assert (said["cutoff"]["taken_on"], said["cutoff"]["optimistic"]) == ("card", False)


def test_the_first_screen_says_what_is_found_and_how_sure_that_is(page):
    first = page.text.split("Flow of cases")[0]

    assert "Of 3 metastatic nodes the model calls" in first
    assert "misses 1, and in 2 it outlines another structure instead" in first
    assert "For research, not for diagnosis." in first
    assert "Drawn rectangles, for the tests." in first
    assert "from the model's card" in first
    assert "One class has only 3 nodes" in first


def test_every_percentage_of_the_page_has_its_cases_beside_it(page):
    for cell in re.findall(r"\d+\.\d+ % \(", page.text):
        assert re.search(re.escape(cell) + r"\d+/\d+\)", page.text)


def test_the_papers_row_is_printed_with_its_intervals():
    sections = report_sections(evaluate_rows(rows_from_counts(158, 118, 236, 35), FAST))

    (table,) = (t for s in sections for t in s.tables if t.caption.startswith("Diagnosis per node"))
    assert [row[:5] for row in table.rows[:7]] == [
        ("Sensitivity", "57.25 %", "158/276", "51.35 to 62.94", "51.18 to 63.16"),
        ("Specificity", "87.08 %", "236/271", "82.57 to 90.57", "82.50 to 90.84"),
        ("Accuracy", "72.03 %", "394/547", "68.12 to 75.63", "68.06 to 75.75"),
        ("PPV", "81.87 %", "158/193", "75.82 to 86.66", "75.69 to 87.03"),
        ("NPV", "66.67 %", "236/354", "61.60 to 71.38", "61.49 to 71.56"),
        ("+LR", "4.43", "547", "3.20 to 6.14", "–"),
        ("−LR", "0.49", "547", "0.43 to 0.57", "–"),
    ]


def words_of_pdf(path):
    """Text of a PDF, whose strings are cut into pieces where letters are moved together."""
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", path.read_bytes(), re.DOTALL)
    pages = [zlib.decompress(stream) for stream in streams]
    strings = re.findall(rb"\(([^()]*)\)", b"".join(page for page in pages if b" Tf" in page))
    return b"".join(strings).replace(b"\0", b"").decode("latin-1")


def words_of_plot(plot):
    axes = Figure().add_subplot()
    plot.draw(axes)
    legend = axes.get_legend()
    return [
        axes.get_xlabel(),
        axes.get_ylabel(),
        *(text.get_text() for text in (legend.texts if legend else ())),
    ]


def test_every_interval_is_headed_by_the_level_that_was_asked_for(tmp_path):
    rows = [replace(row, hospital="AB"[i % 2]) for i, row in enumerate(random_rows())]
    calls = {row.id: "malignant" for row in rows}
    evaluation = evaluate_rows(
        rows, replace(FAST, confidence=0.8), readers={"Li": calls, "Li with the model": calls}
    )

    page = Page(write_report(evaluation, tmp_path).read_text("utf-8")).text
    plots = [plot for section in report_sections(evaluation) for plot in section.plots]
    drawn_words = [words for plot in plots for words in words_of_plot(plot)]
    printed = words_of_pdf(tmp_path / "report.pdf")

    assert re.findall(r"(?<![\d.])95 %.{15}", page) == ["95 % of differences"]
    assert page.count("80 %") > 20
    assert "Cases and 80 % interval over patients" in printed
    assert "observed, 80 %" in drawn_words and "share (80 % interval)" in drawn_words
    assert not any("95 %" in words for words in drawn_words)


def test_the_bars_of_the_calibration_are_of_the_level_that_was_asked_for():
    def highest(confidence):
        evaluation = evaluate_rows(random_rows(), replace(FAST, confidence=confidence))
        sections = report_sections(evaluation)
        (plot,) = (p for s in sections for p in s.plots if p.caption.startswith("Calibration"))
        axes = Figure().add_subplot()
        plot.draw(axes)
        return axes.collections[0].get_segments()[0][1][1]

    assert highest(0.8) < highest(0.95)


def test_the_calibration_error_stands_beside_what_chance_alone_makes():
    evaluation = evaluate_rows(random_rows(), FAST)

    rows = {
        row[0]: row[1]
        for section in report_sections(evaluation)
        for table in section.tables
        if section.title == "Diagnosis per node" and table.caption.startswith("Calibration")
        for row in table.rows
    }

    found = evaluation.nodes
    assert rows["Expected calibration error, ten bins (over patients)"] == with_interval(
        found.calibration_error, 3
    )
    assert rows["– by chance alone, were every score right"] == with_interval(
        found.calibration_error_by_chance, 3
    )
    assert all(re.fullmatch(r"−?[\d.]+ \(.+\)", value) for value in rows.values())


def test_the_page_loads_nothing(report, page):
    text = report.read_text("utf-8")

    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    for name, value in page.attributes:
        if name in ("href", "src", "xlink:href"):
            assert value.startswith(("#", "data:image/png;base64,"))
    assert "@import" not in text
    assert "url(http" not in text


def test_plots_are_vector_and_named(page):
    assert page.tags.count("svg") >= 8
    labels = [value for name, value in page.attributes if name == "aria-label"]
    assert {"ROC curve", "Decision curve", "FROC curve", "Bland–Altman, long axis"} <= set(labels)


def test_sections_stand_in_the_order_of_a_paper(page):
    order = [
        "Cases Split",
        "Diagnosis per node",
        "Diagnosis per patient",
        "Masks Dice",
        "Detection Predicted",
        "Size Model",
        "Subgroups Intervals",
        "Comparison on the same nodes Only",
        "Gallery Best",
        "Reporting items",
    ]
    places = [page.text.rindex(title) for title in order[:-1]]

    assert places == sorted(places)


def test_misses_wrong_nodes_and_undetermined_calls_are_printed(page):
    assert "missed: nothing outlined 16.67 % (1/6)" in page.text
    assert "wrong node: another structure outlined 33.33 % (2/6)" in page.text
    assert "on the same 6 nodes of 6 patients. Left out: 0 nodes without a verdict" in page.text


def test_an_optimistic_cutoff_says_so_on_the_first_screen():
    notes = overview(evaluate_rows(random_rows(), replace(FAST, cutoff_from="test"))).notes

    assert any("Optimistic: chosen on the cases it is judged on" in note for note in notes)


def test_the_cutoff_of_a_card_contradicts_no_warning_beside_it():
    said = str(evaluate_rows(random_rows(), replace(FAST, split="all")).cutoff)

    assert "from the model's card. Optimistic: the card's validation cases may be among these" in said


def test_the_first_screen_names_every_node():
    page = overview(evaluate_rows(random_rows(), replace(FAST, split="all")))

    assert "on all cases" in page.title
    (sentence,) = (one for one in page.sentences if "in part" in one)
    said = sentence.replace(str(FAST.iou_threshold), "")
    total, well, part, missed, wrong = map(int, re.findall(r"\d+", said))
    assert well + part + missed + wrong == total


def test_patients_on_both_sides_are_named_on_the_first_screen():
    notes = overview(evaluate_rows(random_rows(), FAST)).notes

    assert any("patients are in the test cases and in another split as well" in note for note in notes)


def test_frames_that_the_model_learned_from_are_named_on_the_first_screen(drawn):
    notes = overview(replace(drawn, flow=replace(drawn.flow, learned_from=2))).notes

    assert any(note.startswith("2 of these frames were in the run that trained") for note in notes)


def test_patients_of_the_whole_study_are_known_though_a_part_is_evaluated():
    rows = rows_from_counts(3, 3, 3, 3)
    partitions = {"test": {row.patient for row in rows}, "train": {rows[0].patient, "x"}}
    evaluation = replace(evaluate_rows(rows, FAST), partitions=partitions)

    assert any(
        note.startswith("1 patient is in the test cases and in another")
        for note in overview(evaluation).notes
    )


def test_cases_that_are_no_test_cases_are_named_on_the_first_screen():
    evaluation = evaluate_rows(random_rows(), replace(FAST, split="validation"))

    assert any("not test cases" in note for note in overview(evaluation).notes)


def test_what_a_file_names_cannot_become_part_of_the_page(page):
    assert "script" not in page.tags
    assert f"scanner: {VENDOR}" in page.text


def test_the_same_evaluation_gives_the_same_files(report, drawn, tmp_path):
    again = write_report(drawn, tmp_path)

    for name in ("report.html", "cases.csv", "report.pdf", "report.json"):
        assert (again.parent / name).read_bytes() == (report.parent / name).read_bytes()


def test_plots_are_lower_where_that_keeps_them_on_the_page(tmp_path):
    plots = [Plot(caption="One", draw=lambda ax: None, height=3.0)] * 4  # two rows
    with PdfPages(tmp_path / "pages.pdf") as file:
        pages = _Pages(file)
        pages.new()
        pages.y = BOTTOM + 5.2
        pages.plots(plots)
        assert pages.n == 1
        pages.y = BOTTOM + 2.0
        pages.plots(plots)
        assert pages.n == 2
        pages.close()


def test_the_last_row_of_a_table_stands_on_no_page_of_its_own(tmp_path):
    table = ReportTable(caption="Rows", header=("row",), rows=tuple((str(row),) for row in range(9)))
    with PdfPages(tmp_path / "pages.pdf") as file:
        pages = _Pages(file)
        pages.new()
        full = pages.y
        pages.table(table)
        height = full - pages.y
        pages.y = BOTTOM + height - 0.2  # all but the last row fits
        pages.table(table)
        words = [text.get_text() for text in pages.page.texts]
        pages.close()

    assert words[-2:] == ["7", "8"]


def test_the_pdf_has_pages_and_no_date_or_author(report):
    data = (report.parent / "report.pdf").read_bytes()

    assert data.startswith(b"%PDF")
    assert data.count(b"/Type /Page\n") + data.count(b"/Type /Page ") >= 4
    assert not re.search(rb"/(CreationDate|Author|ModDate)", data)


def test_no_name_of_patient_or_reader_reaches_the_files(report):
    for file in report.parent.iterdir():
        content = file.read_bytes()
        assert b"DOE" not in content
        assert b"Dr Who" not in content


def test_without_anything_to_judge_the_report_says_so():
    rows = [replace(row, truth="unknown") for row in rows_from_counts(2, 0, 2, 0)]

    first = overview(evaluate_rows(rows, FAST))

    assert first.sentences == ("No case has a mask or a known truth: there is nothing to judge.",)
    assert "4 nodes of unknown truth left out of the diagnosis." in first.notes


def test_claims_are_told_where_no_frame_has_a_node():
    claims = ((LEFT,), (), (LEFT, RIGHT), ())
    frames = [replace(annotation().frame, pixels=np.full((100, 120), i, np.uint8)) for i in range(4)]
    evaluation = evaluate(
        [replace(annotation(), frame=frame) for frame in frames],
        [prediction(*places) for places in claims],
        FAST,
    )

    first = overview(evaluation)
    page = Page(html_page(first, report_sections(evaluation)))

    assert first.sentences == ("On 2 of 4 frames without a node it outlines one all the same.",)
    assert [tile.name for tile in first.tiles] == ["Claims without a node"]
    assert "frames without a node where one is outlined 50.00 % (2/4)" in page.text


def test_one_case_alone_can_be_reported():
    evaluation = evaluate([annotation(LEFT)], [prediction(LEFT)], FAST)

    page = Page(html_page(overview(evaluation), report_sections(evaluation)))

    assert "Of 1 metastatic nodes the model calls 1 malignant" in page.text


def test_a_folder_that_cannot_be_written_is_named(drawn, tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(ExportError, match=r"can't be written into out .*Choose a folder"):
        write_report(drawn, tmp_path / "file" / "out")


def test_a_report_that_is_cut_short_counts_as_unfinished(tmp_path):
    evaluation = evaluate_rows([replace(rows_from_counts(1, 0, 0, 0)[0], truth="unknown")], FAST)
    write_report(evaluation, tmp_path)
    (tmp_path / "report.html").unlink()
    (tmp_path / "report.html").mkdir()  # what stands for a full disk
    with pytest.raises(ExportError, match=r"can't be written into"):
        write_report(evaluation, tmp_path)

    assert not (tmp_path / "report.json").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cases.csv", "report.html", "report.pdf"]


@pytest.mark.parametrize("counts", [(5, 2, 0, 0), (0, 0, 4, 3)], ids=["metastatic", "benign"])
def test_one_class_alone_can_be_reported(counts):
    evaluation = evaluate_rows(rows_from_counts(*counts), FAST)

    page = Page(html_page(overview(evaluation), report_sections(evaluation)))

    assert "One class has only 0 nodes" in page.text


def test_blanks_are_named_for_the_authors(drawn):
    items = reporting_items(drawn)

    assert all(item.text for item in items)
    blanks = [item for item in items if not item.filled]
    assert any("design: prospective or retrospective" in item.text for item in blanks)
    assert sum(item.filled for item in items) >= 12


def numbers(said: str) -> set[int]:
    """The items that a cell such as "5b–6b, 8" names, without their letters."""
    found: set[int] = set()
    for part in filter(None, said.split(", ")):
        ends = [int(re.match(r"\d+", end)[0]) if end[0].isdigit() else None for end in part.split("–")]
        first = ends[0]
        found |= set(range(first, (ends[-1] or first) + 1))
    return found


@pytest.mark.parametrize(("column", "n"), [("stard_ai", 40), ("tripod_ai", 27), ("claim", 44)])
def test_every_item_of_the_three_lists_has_a_topic(drawn, column, n):
    """But for what only a developer of models reports: TRIPOD+AI 9, 13 and 24, and 18 by its letters."""
    asked = set().union(*(numbers(getattr(item, column)) for item in reporting_items(drawn)))

    apart = {"tripod_ai": {9, 13, 24}}.get(column, set())
    assert asked == set(range(1, n + 1)) - apart


def test_numbers_are_printed_as_a_journal_prints_them():
    assert number(-0.125, 2) == "−0.12"
    assert number(-0.0001, 2) == "0.00"
    assert number(np.inf) == "∞"
    assert number(np.nan) == "–"
    assert percent(0.5725, 2) == "57.25 %"
    assert percentage(proportion(158, 276), 2) == "57.25 % (158/276)"
    assert percentage(proportion(0, 0)) == "–"
    assert interval(proportion(0, 0)) == "–"
    assert [p_value(p) for p in (0.0001, 0.0123, 0.5)] == ["< 0.001", "0.012", "0.50"]
