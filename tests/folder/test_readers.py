"""Second readings stay apart from the folder's own until somebody decides."""

import numpy as np
import pytest

from napari_cln.errors import ConflictError, DatasetError
from napari_cln.folder.decisions import adjudicate, may_decide, undecided
from napari_cln.folder.health.check import check
from napari_cln.folder.readers import (
    pair_readings,
    pair_truths,
    read_annotation,
    read_pair,
    readers_of,
    save_reading,
    second_readings,
)
from napari_cln.folder.saving import Provenance, save
from napari_cln.study.statistics.agreement import kappa
from napari_cln.study.statistics.metrics import dice
from napari_cln.types import Node


@pytest.fixture
def second(study, annotate, necks):
    """A second reader who sees five frames, one of them otherwise."""
    for n in range(5):
        truth = "benign" if n % 2 == 0 or n == 3 else "metastatic"
        mask = np.roll(necks[n][1], 4 if n == 0 else 0)
        save_reading(study, annotate(n, truth, mask=mask, seconds=7.0), "r2")
    return study


def test_a_second_reading_leaves_the_first_as_it_is(study, annotate, necks):
    case = study.case(study.identify(annotate(0).frame))

    save_reading(study, annotate(0, "metastatic", mask=np.roll(necks[0][1], 4)), "r2")

    assert study.case(case.id) == case
    assert np.array_equal(study.read_instances(case) > 0, necks[0][1])
    assert readers_of(study, case.id) == ["r2"]
    assert len(study.cases()) == 12
    assert check(study) == []


def test_dice_and_kappa_of_two_readers_come_from_their_pairs(second, necks):
    pairs = list(pair_readings(second, "r2"))

    overlaps = [dice(pair.first.mask, pair.second.mask) for pair in pairs]
    agreement = kappa(*pair_truths(second, "r2"))

    assert len(pairs) == 5
    assert sorted(overlaps)[1:] == [1.0] * 4
    assert min(overlaps) == dice(necks[0][1], np.roll(necks[0][1], 4)) < 1
    # Four of five agree; by chance 0.4 · 0.2 + 0.6 · 0.8 = 0.56 would.
    assert agreement.value == pytest.approx((0.8 - 0.56) / (1 - 0.56))


@pytest.fixture
def pair(second, annotate):
    """The frame that the two readers outline otherwise."""
    return read_pair(second, second.identify(annotate(0).frame), "r2")


def test_who_reads_otherwise_is_listed(second, annotate, pair):
    same, other_truth = (second.identify(annotate(n).frame) for n in (1, 3))

    assert [found.second.annotator for found in undecided(second, pair.case.id)] == ["r2"]
    assert undecided(second, same) == []
    assert [found.second.label for found in undecided(second, other_truth)] == ["benign"]
    assert set(second_readings(second)) == {second.identify(annotate(n).frame) for n in range(5)}


def test_a_reading_that_is_not_finished_is_nothing_to_decide_on(study, annotate, necks):
    case_id = study.identify(annotate(0).frame)

    save_reading(study, annotate(0, mask=np.roll(necks[0][1], 4), status="predicted"), "r2")

    assert undecided(study, case_id) == []


def test_a_decision_becomes_the_frames_own_and_says_so(second, pair):
    case = adjudicate(second, pair.second, "r3", pair)

    assert np.array_equal(second.read_instances(case) > 0, pair.second.mask)
    last = second.record(case.id)["history"][-1]
    assert (last["who"], last["action"]) == ("r3", "adjudicated")
    assert last["readings"] == {"r2": pair.read_at}
    assert second.revisions(case.id)[-1]["revision"] == case.extra["revision"] - 1
    assert check(second) == []


def test_a_decision_for_the_first_holds_until_the_second_reads_again(
    second, pair, annotate, necks, monkeypatch
):
    adjudicate(second, pair.first, "r3", pair)
    assert undecided(second, pair.case.id) == []

    monkeypatch.setattr("napari_cln.folder.readers.now", lambda: "2030-01-01T00:00:00Z")
    save_reading(second, annotate(0, mask=np.roll(necks[0][1], 9)), "r2")

    assert len(undecided(second, pair.case.id)) == 1


@pytest.mark.parametrize("who", ["r1", "r2", "R2"])
def test_who_has_read_the_frame_does_not_decide(second, pair, who):
    before = second.record(pair.case.id)

    assert not may_decide(second, pair, who)
    with pytest.raises(DatasetError, match="has read this frame, so another reader decides"):
        adjudicate(second, pair.second, who, pair)
    assert second.record(pair.case.id) == before


def test_who_paints_a_consensus_after_both_have_read_may_decide(second, pair, annotate, monkeypatch):
    monkeypatch.setattr("napari_cln.folder.saving.now", lambda: "2030-01-01T00:00:00Z")
    second.save(annotate(0, truth="metastatic"), who="r3")

    assert may_decide(second, pair, "r3")
    assert not may_decide(second, pair, "r1")


def test_a_decision_that_is_taken_back_is_open_again(second, pair):
    adjudicate(second, pair.second, "r3", pair)
    assert undecided(second, pair.case.id) == []

    about = Provenance(who="r3", action="taken-back", readings={"r2": pair.read_at}, judged_by="r1")
    save(second, pair.first, about)

    assert len(undecided(second, pair.case.id)) == 1
    assert read_annotation(second, pair.case).annotator == "r1"


def test_decisions_of_one_reader_in_a_row_keep_a_line_each(second, pair, annotate, necks):
    save_reading(second, annotate(0, mask=np.roll(necks[0][1], 9)), "r4")
    for other in undecided(second, pair.case.id):
        adjudicate(second, other.first, "r3", other)

    history = second.record(pair.case.id)["history"]
    assert [set(entry["readings"]) for entry in history if "readings" in entry] == [{"r2"}, {"r4"}]
    assert undecided(second, pair.case.id) == []


def test_a_decision_on_a_frame_that_has_changed_meanwhile_is_told(second, pair, annotate):
    second.save(annotate(0, truth="metastatic"), who="r1")

    with pytest.raises(ConflictError, match="was changed by r1"):
        adjudicate(second, pair.second, "r3", pair, expected_revision=pair.case.extra["revision"])


def test_a_reading_that_is_given_again_keeps_the_former(second, annotate):
    case_id = second.identify(annotate(0).frame)

    save_reading(second, annotate(0), "r2")

    assert len(list((second.layout.revisions / case_id).glob("*.reading"))) == 2
    assert len(second.revisions(case_id)) == 0


def test_an_annotation_read_from_the_folder_can_be_saved_again(study, annotate):
    case = study.save(
        annotate(0, nodes=(Node(id=1, truth="metastatic", level="II"),), note="hilum"), who="r1"
    )

    again = study.save(read_annotation(study, case), who="r1")

    assert (again.id, again.nodes, again.truth) == (case.id, case.nodes, "metastatic")
    assert study.record(case.id)["note"] == "hilum"


def test_a_frame_that_is_not_in_the_folder_has_no_second_reading(folder, annotate):
    with pytest.raises(DatasetError, match="is not in the training folder study"):
        save_reading(folder, annotate(0), "r2")


@pytest.mark.parametrize("reader", ["../r2", "nodes"])
def test_a_reader_whose_name_is_that_of_another_file_is_refused(study, annotate, reader):
    with pytest.raises(DatasetError, match="letters and digits"):
        save_reading(study, annotate(0), reader)
