import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_cln.annotation import Case, Checksums, Node
from napari_cln.errors import SplitError
from napari_cln.folder.split.deal import split
from napari_cln.folder.split.frozen import encode_splits, frozen_places, frozen_split
from napari_cln.folder.split.groups import group_cases

TRUTHS = st.sampled_from(["benign", "metastatic", "unknown"])


def case(n, patient, truth="benign", cine=None, side=None, pixels=None):
    return Case(
        id=f"{n:016x}",
        image=None,
        mask="mask",
        instances=None,
        nodes=(Node(id=1, truth=truth),),
        patient=patient,
        cine=cine,
        status="corrected",
        split=side,
        checksums=Checksums(image=pixels or f"{n}"),
    )


@st.composite
def studies(draw):
    """Cases of at least four patients, both classes among them, some in cines."""
    rows = draw(
        st.lists(
            st.tuples(st.sampled_from("abcdefghij"), TRUTHS, st.sampled_from([None, "x", "y"])), max_size=40
        )
    )
    # A cine of two patients joins them, so that cines are named within their patient here.
    rows = [(p, t, c and p + c) for p, t, c in rows]
    rows += [
        ("k", "benign", None),
        ("l", "metastatic", None),
        ("m", "benign", None),
        ("n", "metastatic", None),
    ]
    return [case(i, *row) for i, row in enumerate(rows)]


@given(studies(), st.integers(2, 4), st.integers(0, 99))
def test_no_patient_is_on_both_sides_of_a_fold(cases, folds, seed):
    patient = {c.id: c.patient for c in cases}

    for fold in split(cases, folds, seed):
        assert not {patient[i] for i in fold.train} & {patient[i] for i in fold.validation}


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("xyz")), min_size=1, max_size=30))
def test_no_cine_is_on_both_sides_of_a_fold_even_when_two_patients_share_it(rows):
    cases = [case(i, p, "benign", c) for i, (p, c) in enumerate(rows)]
    cases += [case(100, "p", "metastatic"), case(101, "q", "benign")]
    cine = {c.id: c.cine for c in cases}

    for fold in split(cases, 2):
        assert not ({cine[i] for i in fold.train} & {cine[i] for i in fold.validation}) - {None}


@pytest.mark.slow
@given(studies(), st.integers(2, 4), st.integers(0, 99))
def test_every_frame_is_validated_in_exactly_one_fold(cases, folds, seed):
    validated = [i for fold in split(cases, folds, seed) for i in fold.validation]

    assert sorted(validated) == sorted(c.id for c in cases)


@given(studies(), st.integers(2, 4), st.integers(0, 99))
def test_each_class_has_as_many_patients_in_one_fold_as_in_another(cases, folds, seed):
    groups = group_cases(cases)

    made = split(cases, folds, seed)

    for truth in ("benign", "metastatic", "unknown"):
        counts = [
            sum(group.truth == truth and group.cases[0].id in fold.validation for group in groups)
            for fold in made
        ]
        assert max(counts) - min(counts) <= 1


@given(studies(), studies(), st.integers(2, 4))
def test_new_frames_and_patients_join_and_old_ones_stay(old, new, folds):
    new = [case(1000 + i, c.patient if i % 2 else f"new {c.patient}", c.truth) for i, c in enumerate(new)]
    before = split(old, folds)
    frozen = frozen_places(json.loads(encode_splits(before, old)))

    after = split(old + new, folds, frozen=frozen)

    for early, late in zip(before, after, strict=True):
        assert set(early.validation) <= set(late.validation)
        assert set(early.train) <= set(late.train)


@given(studies(), st.integers(0, 99))
def test_the_order_of_the_cases_changes_nothing(cases, seed):
    assert split(cases, 3, seed) == split(cases[::-1], 3, seed)


def test_frames_put_aside_for_testing_are_in_no_fold():
    cases = [case(1, "a"), case(2, "b", "metastatic"), case(3, "c", side="test")]

    assert all(f"{3:016x}" not in fold.train + fold.validation for fold in split(cases, 2))


def test_one_fold_is_the_split_that_came_with_the_data():
    cases = [case(1, "a", side="train"), case(2, "b", "metastatic", side="validation")]

    (fold,) = split(cases, 1)

    assert (fold.train, fold.validation) == ((f"{1:016x}",), (f"{2:016x}",))


def test_a_patient_in_training_and_test_is_refused_by_name():
    cases = [case(1, "a", side="test"), case(2, "a", side="train"), case(3, "b", "metastatic")]

    with pytest.raises(
        SplitError, match=r"Patient a has frames put aside for testing.*0000000000000002.*one side"
    ):
        split(cases, 2)


def test_the_same_pixels_twice_are_refused_by_name():
    cases = [case(1, "a", pixels="same"), case(2, "b", "metastatic", pixels="same")]

    with pytest.raises(SplitError, match=r"twice.*0000000000000001, 0000000000000002.*--repair"):
        split(cases, 2)


def test_one_patient_makes_no_split():
    with pytest.raises(SplitError, match=r"All 2 .* from one patient.*Add frames of a second patient"):
        split([case(1, "a"), case(2, "a", "metastatic")], 2)


def test_one_cine_of_an_unknown_patient_is_not_called_a_patient():
    cases = [case(n, f"unknown-{n}", "metastatic" if n else "benign", cine="c") for n in range(2)]

    with pytest.raises(SplitError, match="All 2 frames are of one cine of an unknown patient"):
        split(cases, 2)


def test_one_class_makes_no_split():
    with pytest.raises(SplitError, match=r"Every labelled frame is benign.*other class"):
        split([case(1, "a"), case(2, "b")], 2)


def test_frames_without_any_class_can_be_split_to_train_masks():
    assert len(split([case(1, "a", "unknown"), case(2, "b", "unknown")], 2)) == 2


def test_more_folds_than_patients_are_refused():
    with pytest.raises(SplitError, match=r"2 patients can't make 5 folds. Ask for 1 to 2"):
        split([case(1, "a"), case(2, "b", "metastatic")], 5)


def test_the_folder_keeps_its_folds(study, annotate, necks):
    before = frozen_split(study, 3)
    text = study.layout.splits.read_text()

    assert frozen_split(study, 3, seed=7) == before
    assert frozen_split(study, 1) == before[:1]
    assert study.layout.splits.read_text() == text


def test_a_folder_frozen_in_three_folds_does_not_become_five(study):
    frozen_split(study, 3)

    with pytest.raises(SplitError, match=r"frozen in 3 folds, not 5.*Ask for 3 or 1"):
        frozen_split(study, 5)


def test_a_withdrawn_patient_returns_to_the_side_it_had(study, annotate):
    before = frozen_split(study, 3)
    mine = next(c for c in study.cases() if c.truth != "unknown")
    theirs = [c for c in study.cases() if c.patient == mine.patient]
    side = next(i for i, fold in enumerate(before) if mine.id in fold.validation)
    numbers = {study.identify(annotate(n).frame): n for n in range(12)}
    for c in theirs:
        study.save(annotate(numbers[c.id], status="rejected"), who="r1")
    assert all(mine.id not in fold.train + fold.validation for fold in frozen_split(study, 3))

    for c in theirs:
        study.save(annotate(numbers[c.id]), who="r1")

    assert mine.id in frozen_split(study, 3)[side].validation


def test_a_patient_moved_by_hand_to_both_sides_is_refused(study):
    frozen_split(study, 3)
    splits = json.loads(study.layout.splits.read_text())
    moved = splits[0]["val"].pop()
    splits[1]["val"].append(moved)
    splits[0]["val_patients"], splits[1]["val_patients"] = [], []
    study.layout.splits.write_text(json.dumps(splits))

    with pytest.raises(SplitError, match=rf"both sides of the frozen split: .*{moved}"):
        frozen_split(study, 3)


def test_a_damaged_splits_file_is_named_and_kept(study):
    study.layout.splits.write_text('{"train": []}')

    with pytest.raises(SplitError, match=r"splits_final\.json is not a list"):
        frozen_split(study, 3)
    assert study.layout.splits.read_text() == '{"train": []}'
