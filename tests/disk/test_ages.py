"""Ages of 90 and more are kept as 90, however the column is called and the age is written."""

import pytest

from napari_cln.disk.ages import is_age, names_birth, without_high_age


@pytest.mark.parametrize(
    "heading",
    ["age", "Age (years)", "patient_age", "PatientAge", "AGE_AT_DX", "ageatdiagnosis",
     "Age at day of surgery", "Alter", "Alter (Jahre)", "Patientenalter", "AlterBeiDiagnose",
     "A\u0302ge du patient", "edad (años)", "idade", "età", "leeftijd", "возраст", "患者年龄(岁)", "年龄"],
)  # fmt: skip
def test_an_age_is_known_by_the_words_of_its_heading(heading):
    assert is_age(heading)
    assert without_high_age(heading, 93.0) == 90.0
    assert without_high_age(heading, 47.0) == 47.0


@pytest.mark.parametrize("heading", ["stage", "percentage", "dosage", "agent dose", "halter", "tg", "image"])
def test_other_columns_keep_their_numbers(heading):
    assert without_high_age(heading, 93.0) == 93.0


@pytest.mark.parametrize(
    ("heading", "value", "kept"),
    [
        ("age", "093Y", 90.0), ("age", "047Y", 47.0), ("age", "93 years", 90.0), ("age", "93 Jahre", 90.0),
        ("age", "18M", 1.5), ("age", "93岁", 90.0), ("age", ">93", 90.0), ("age", "93y 4m", 90.0),
        ("age", "85-95", 90.0), ("age", "80-89", "80-89"), ("age group", "old", "old"),
        ("age in months", 564.0, 564.0), ("Alter (Monate)", 1116.0, 1080.0),
        ("age_months", "93 years", 1080.0), ("age at surgery in days", 17000.0, 17000.0),
        ("月龄", 564.0, 564.0), ("Age (m)", 93.0, 90.0),
    ],
)  # fmt: skip
def test_an_age_is_kept_in_the_unit_of_its_heading(heading, value, kept):
    assert without_high_age(heading, value) == kept
    assert without_high_age(heading, kept) == kept


def test_a_year_of_birth_is_known_by_its_heading():
    assert names_birth("year of birth") and names_birth("Geburtsjahr") and names_birth("出生年份")
    assert not names_birth("age")
