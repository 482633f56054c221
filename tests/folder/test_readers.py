"""Second readings stay apart from the folder's own until somebody decides."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from napari_cln.annotation import Node
from napari_cln.errors import ConflictError, DatasetError
from napari_cln.folder.decisions import adjudicate, undecided
from napari_cln.folder.health.check import check_study
from napari_cln.folder.readers import (
    pair_readings,
    pair_truths,
    read_annotation,
    read_pair,
    readers_of,
    save_reading,
    second_readings,
)
from napari_cln.study.statistics.agreement import kappa
from napari_cln.study.statistics.metrics import dice


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
    assert check_study(study).faults == ()


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


@pytest.fixture
def two_readers(folder, annotate):
    """A writer of two readings of one frame, each the ids and the nodes; gives the pair."""

    def read(first, second):
        said = [
            replace(annotate(0), instances=ids, nodes=tuple(nodes), status="corrected")
            for ids, nodes in (first, second)
        ]
        case = folder.save(said[0], who="r1")
        save_reading(folder, said[1], "r2")
        return read_pair(folder, case.id, "r2")

    return read


def two_nodes():
    ids = np.zeros((224, 224), dtype=np.uint8)
    ids[60:100, 40:90], ids[100:140, 60:120] = 1, 2
    return ids


def nodes(*truths):
    return [Node(id=k, truth=truth) for k, truth in enumerate(truths, start=1)]


def test_truths_of_two_nodes_the_other_way_round_differ(two_readers):
    ids = two_nodes()

    pair = two_readers((ids, nodes("metastatic", "benign")), (ids, nodes("benign", "metastatic")))

    assert pair.differs and pair.is_opposed
    assert pair.truths_apart == ((1, "metastatic", "benign"), (2, "benign", "metastatic"))


def test_one_node_where_another_sees_two_has_a_truth_against_each(two_readers):
    ids = two_nodes()
    one = (ids > 0).astype(np.uint8)

    pair = two_readers((one, nodes("metastatic")), (ids, nodes("metastatic", "benign")))

    assert pair.differs
    assert pair.truths_apart == ((1, "metastatic", "benign"),)


def test_nodes_that_touch_at_their_borders_have_no_truth_against_each_other(two_readers):
    ids = two_nodes()
    wider = np.where(ids == 1, 1, 0).astype(np.uint8)
    wider[100:103, 60:90] = 1  # three rows of what the first calls node 2, which the second does not see

    pair = two_readers((ids, nodes("metastatic", "benign")), (wider, nodes("metastatic")))

    assert pair.differs
    assert pair.truths_apart == ()


def test_a_node_that_both_reject_is_no_difference(two_readers):
    ids = two_nodes()
    smaller = np.where(ids == 1, 1, 0).astype(np.uint8)
    smaller[110:120, 70:80] = 2
    first, second = (
        [Node(id=1, truth="benign"), Node(id=2, status="rejected", truth=truth)]
        for truth in ("metastatic", "unknown")
    )

    pair = two_readers((ids, first), (smaller, second))

    assert not pair.differs


def test_a_node_that_one_of_two_rejects_is_a_difference(two_readers):
    ids = two_nodes()
    first, second = (
        [Node(id=1, truth="benign"), Node(id=2, status=status, truth="benign")]
        for status in ("corrected", "rejected")
    )

    pair = two_readers((ids, first), (ids, second))

    assert pair.differs and not pair.is_opposed
    assert dice(*pair.masks) < 1


def test_a_reading_that_is_not_finished_is_nothing_to_decide_on(study, annotate, necks):
    case_id = study.identify(annotate(0).frame)

    save_reading(study, annotate(0, mask=np.roll(necks[0][1], 4), status="predicted"), "r2")

    assert undecided(study, case_id) == []


def test_a_decision_becomes_the_frames_own_and_says_so(second, pair):
    case = adjudicate(second, pair.second, "r3", pair)

    assert np.array_equal(second.read_instances(case) > 0, pair.second.mask)
    last = second.record(case.id).history[-1]
    assert (last.who, last.action) == ("r3", "adjudicated")
    assert last.readings == {"r2": pair.read_at}
    assert second.revisions(case.id)[-1].revision == case.revision - 1
    assert check_study(second).faults == ()


def test_a_decision_for_the_first_holds_until_the_second_reads_again(
    second, pair, annotate, necks, monkeypatch
):
    adjudicate(second, pair.first, "r3", pair)
    assert undecided(second, pair.case.id) == []

    monkeypatch.setattr("napari_cln.folder.readers.now", lambda: datetime(2030, 1, 1, tzinfo=UTC))
    save_reading(second, annotate(0, mask=np.roll(necks[0][1], 9)), "r2")

    assert len(undecided(second, pair.case.id)) == 1


def test_decisions_of_one_reader_in_a_row_keep_a_line_each(second, pair, annotate, necks):
    save_reading(second, annotate(0, mask=np.roll(necks[0][1], 9)), "r4")
    for other in undecided(second, pair.case.id):
        adjudicate(second, other.first, "r3", other)

    history = second.record(pair.case.id).history
    assert [set(entry.readings) for entry in history if entry.readings] == [{"r2"}, {"r4"}]
    assert undecided(second, pair.case.id) == []


def test_a_decision_on_a_frame_that_has_changed_meanwhile_is_told(second, pair, annotate):
    second.save(annotate(0, truth="metastatic"), who="r1")

    with pytest.raises(ConflictError, match="was changed by r1"):
        adjudicate(second, pair.second, "r3", pair, expected_revision=pair.case.revision)


def test_a_reader_whose_name_differs_in_capitals_alone_is_refused(second, annotate):
    """On a disk that ignores capitals, one would replace the reading of the other."""
    case_id = second.identify(annotate(7).frame)

    with pytest.raises(DatasetError, match=r"'R2' can't be kept: 'r2' has read .*Sign as 'r2', or take"):
        save_reading(second, annotate(7), "R2")

    assert readers_of(second, case_id) == []
    save_reading(second, annotate(7), "r2")


@pytest.mark.parametrize("name", ["nodes", "Nodes", "NODES"])
def test_no_reader_is_called_as_the_folders_own_picture_of_nodes(study, annotate, name):
    with pytest.raises(DatasetError, match=r"can't be kept.*use a reader's name"):
        save_reading(study, annotate(0), name)


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
    assert study.record(case.id).note == "hilum"


def test_a_frame_that_is_not_in_the_folder_has_no_second_reading(folder, annotate):
    with pytest.raises(DatasetError, match="is not in the training folder study"):
        save_reading(folder, annotate(0), "r2")


@pytest.mark.parametrize("reader", ["../r2", "nodes"])
def test_a_reader_whose_name_is_that_of_another_file_is_refused(study, annotate, reader):
    with pytest.raises(DatasetError, match="letters and digits"):
        save_reading(study, annotate(0), reader)
