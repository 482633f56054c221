"""Hospital, scanner and a clinical record from a table: what is kept, and what is refused."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from napari_cln.errors import DatasetError
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.folder.formats.exchange import import_study

ROWS = [
    {"hospital": "St. Anna", "scanner": "GE LOGIQ E9", "age": "47", "sex": "F", "Tg": "0,4"},
    {"hospital": "St. Anna", "scanner": "Philips EPIQ", "age": "93", "sex": "m", "Tg": ""},
    {"hospital": "B", "scanner": "home made", "age": "n/a", "sex": "f", "Tg": "1200"},
]


@pytest.fixture
def study(tmp_path):
    """A folder of three pictures, and a writer of its table."""
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for k in range(3):
        pixels = rng.integers(0, 200, (60, 80), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "in" / f"{k}.png")

    def write(rows=ROWS):
        with (tmp_path / "in" / "labels.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, ["image", "patient", "label", *rows[0]])
            table.writeheader()
            for k, row in enumerate(rows):
                table.writerow({"image": f"{k}.png", "patient": f"p{k}", "label": "benign"} | row)

    write()
    return tmp_path, write


def bring_in(study, **options):
    folder = study[0]
    for step in import_study(folder / "in", folder / "out", **options):
        assert not step.problem
    made = TrainingFolder.open(folder / "out")
    records = [made.record(case.id) for case in made.cases()]
    return made, sorted(records, key=lambda record: str(record.clinical and record.clinical.get("age")))


def test_named_columns_are_kept_as_the_clinical_record(study):
    _, records = bring_in(study, clinical=["age", "sex", "tg"])

    kept = [record.clinical for record in records]
    assert {"age": 47.0, "sex": "f", "Tg": 0.4} in kept
    assert {"age": 90.0, "sex": "m"} in kept  # an age of 93 would tell who it is
    assert {"sex": "f", "Tg": 1200.0} in kept


@pytest.mark.parametrize("heading", ["Age (years)", "PatientAge", "Alter bei Diagnose", "患者年龄(岁)"])
@pytest.mark.parametrize("age", ["93", "093Y", "93 years"])
def test_no_age_over_90_is_kept_whatever_its_column_is_called(study, heading, age):
    study[1]([{heading: "47"}, {heading: age}, {heading: ""}])

    made, records = bring_in(study, clinical=[heading])

    assert {heading: 90.0} in [record.clinical for record in records]
    assert not any("93" in str(made.record(case_id).clinical) for case_id in made.ids())


def test_an_age_over_90_in_a_folders_record_goes_into_no_other_folder(study):
    made, _ = bring_in(study, clinical=["age"])
    for case_id in made.ids():
        path = made.layout.record(case_id)
        text = json.loads(path.read_text("utf-8").replace('"age": 90.0', '"age": 93.0'))
        path.write_text(json.dumps({key: text[key] for key in text if key != "checksum"}), "utf-8")
    assert any('"age": 93.0' in path.read_text("utf-8") for path in made.layout.records.glob("*.json"))

    list(import_study(made.path, study[0] / "other"))

    other = TrainingFolder.open(study[0] / "other")
    ages = [(other.record(case_id).clinical or {}).get("age") for case_id in other.ids()]
    assert sorted(ages, key=str) == [47.0, 90.0, None]
    assert not any('"age": 93.0' in path.read_text("utf-8") for path in other.layout.records.glob("*.json"))


def test_a_year_of_birth_is_refused(study):
    study[1]([row | {"Tg": "1931"} for row in ROWS])
    table = study[0] / "in" / "labels.csv"
    table.write_text(table.read_text("utf-8").replace("Tg", "year of birth"), "utf-8")

    with pytest.raises(DatasetError, match=r"a year in line 2 of the column 'year of birth'.*give the age"):
        bring_in(study, clinical=["year of birth"])


def test_columns_that_are_not_named_are_not_kept(study):
    _, records = bring_in(study)

    assert [record.clinical for record in records] == [None, None, None]


def test_a_hospitals_name_is_nowhere_in_the_folder(study):
    made, _ = bring_in(study)

    hospitals = sorted(case.hospital for case in made.cases())
    assert hospitals[0] == "B" and hospitals[1] == hospitals[2] and hospitals[1].startswith("H")
    for path in (study[0] / "out").rglob("*.json"):
        assert "anna" not in path.read_text(encoding="utf-8").casefold()


def test_a_scanner_is_kept_where_it_names_a_known_maker(study):
    made, _ = bring_in(study)

    assert sorted(str(case.vendor) for case in made.cases()) == ["GE", "None", "Philips"]


def test_a_second_import_adds_what_is_newly_named(study):
    bring_in(study, clinical=["age"])

    _, records = bring_in(study, clinical=["sex"])

    assert {"age": 47.0, "sex": "f"} in [record.clinical for record in records]


def test_another_value_than_the_folder_has_is_refused(study):
    made, _ = bring_in(study, clinical=["Tg"])
    study[1]([row | {"Tg": "50"} for row in ROWS])

    steps = list(import_study(study[0] / "in", study[0] / "out", clinical=["Tg"]))

    problems = sorted(step.problem for step in steps if step.problem)
    assert len(problems) == 2  # nothing was known of the third, and its value is taken
    assert any(
        "is in the folder with Tg 0.4, and is said to have Tg 50.0. Leave the" in said for said in problems
    )
    values = sorted(made.record(case_id).clinical["Tg"] for case_id in made.ids())
    assert values == [0.4, 50.0, 1200.0]


def test_the_same_values_under_a_heading_in_capitals_change_nothing(study):
    made, _ = bring_in(study, clinical=["sex", "Tg"])
    before = [made.record(case_id) for case_id in made.ids()]
    table = study[0] / "in" / "labels.csv"
    table.write_text(table.read_text("utf-8").replace("sex", "SEX"), "utf-8")

    bring_in(study, clinical=["sex", "Tg"])

    assert [made.record(case_id) for case_id in made.ids()] == before


def test_another_hospital_than_the_folder_has_is_refused(study):
    made, _ = bring_in(study)
    before = [made.record(case_id) for case_id in made.ids()]
    study[1]([row | {"hospital": "C"} for row in ROWS])

    steps = list(import_study(study[0] / "in", study[0] / "out"))

    assert all("of the hospital" in step.problem and "said to be of C" in step.problem for step in steps)
    assert [made.record(case_id) for case_id in made.ids()] == before


def test_another_value_in_another_folder_is_refused(study):
    bring_in(study, clinical=["Tg"])
    study[1]([row | {"Tg": "50", "sex": "f"} for row in ROWS])
    list(import_study(study[0] / "in", study[0] / "other", clinical=["Tg", "sex"]))

    steps = list(import_study(study[0] / "other", study[0] / "out"))

    assert sorted(bool(step.problem) for step in steps) == [False, True, True]
    assert any("is said to have Tg 50.0" in step.problem for step in steps if step.problem)


@pytest.mark.parametrize("column", ["Tg", "hospital"])
def test_two_rows_of_one_image_that_contradict_are_refused(study, column):
    table = study[0] / "in" / "labels.csv"
    rows = table.read_text("utf-8").splitlines()
    again = rows[1].replace("0,4", "50") if column == "Tg" else rows[1].replace("St. Anna", "C")
    table.write_text("\n".join([*rows, again]) + "\n", "utf-8")

    steps = list(import_study(study[0] / "in", study[0] / "out", clinical=["Tg"]))

    (problem,) = [step.problem for step in steps if step.problem]
    assert (
        "Tg 0.4 and 50.0 in 2 rows" if column == "Tg" else "hospitals St. Anna and C in 2 rows"
    ) in problem


def test_a_date_is_refused(study):
    study[1]([row | {"Tg": "2024-03-01"} for row in ROWS])

    with pytest.raises(DatasetError, match=r"date in line 2 of the column 'Tg'.*number of days"):
        bring_in(study, clinical=["Tg"])


def test_a_long_text_is_refused(study):
    study[1]([row | {"Tg": "Mrs. Meier was seen again after surgery of the thyroid"} for row in ROWS])

    with pytest.raises(DatasetError, match="a text of 54 characters"):
        bring_in(study, clinical=["Tg"])


def test_a_column_that_is_not_there_is_named(study):
    with pytest.raises(DatasetError, match="no column 'calcitonin'; its columns are image, patient"):
        bring_in(study, clinical=["calcitonin"])


def test_what_is_not_read_is_told(study):
    folder = study[0]
    work = import_study(folder / "in", folder / "out", clinical=["age"])
    list(work)

    told = "\n".join(work.report.lines())
    assert "sex" in told and "Tg" in told
