"""Folds by hospital: each hospital is left out once."""

from pathlib import Path

import pytest

from napari_cln.annotation import Case, Node
from napari_cln.errors import SplitError
from napari_cln.folder.split.deal import hospital_folds


def case(number, hospital, patient=None, truth="benign"):
    return Case(
        id=f"{number:016x}",
        image=Path("image.png"),
        mask=Path("mask.png"),
        instances=None,
        nodes=(Node(id=1, truth=truth),),
        patient=patient or f"p{number}",
        status="accepted",
        hospital=hospital,
    )


def cases(*hospitals):
    return [case(k, name, truth="metastatic" if k % 2 else "benign") for k, name in enumerate(hospitals)]


def test_no_case_of_a_hospital_trains_the_fold_that_it_validates():
    study = cases("A", "B", "A", "C", "B", "C")
    where = {each.id: each.hospital for each in study}

    folds = hospital_folds(study)

    assert [{where[i] for i in fold.validation} for fold in folds] == [{"A"}, {"B"}, {"C"}]
    for fold in folds:
        assert not {where[i] for i in fold.train} & {where[i] for i in fold.validation}
        assert len(fold.train) + len(fold.validation) == len(study)


def test_one_hospital_is_refused():
    with pytest.raises(SplitError, match=r"one hospital \(A\)"):
        hospital_folds(cases("A", "A", "A"))


def test_frames_without_a_hospital_are_named():
    with pytest.raises(SplitError, match="1 frame has no hospital"):
        hospital_folds(cases("A", "B", None))


def test_a_patient_of_two_hospitals_is_refused():
    with pytest.raises(SplitError, match="hospitals A and B"):
        hospital_folds([*cases("A", "B", "A"), case(7, "A", "x"), case(8, "B", "x")])
