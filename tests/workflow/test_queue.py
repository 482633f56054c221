"""The frames on which two readers do not agree: which is shown first, and in which words."""

from dataclasses import replace

import numpy as np
import pytest

from napari_cln.annotation import Annotation, Node
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.folder.readers import save_reading
from napari_cln.types import Frame
from napari_cln.workflow.queue import describe_agreement, find_undecided, suggest_frames


@pytest.fixture
def folder(tmp_path):
    return TrainingFolder.create(tmp_path / "study")


@pytest.fixture
def first():
    """A frame with two nodes, the upper one metastatic."""
    pixels = np.random.default_rng(0).integers(40, 200, (120, 160)).astype(np.uint8)
    ids = np.zeros((120, 160), dtype=np.uint8)
    ids[20:40, 20:50], ids[70:100, 80:120] = 1, 2
    frame = Frame(pixels=pixels, scan_area=(0, 0, 120, 160))
    return Annotation(frame=frame, instances=ids, nodes=nodes("metastatic", "benign"))


def nodes(*truths):
    return tuple(Node(id=k, truth=truth) for k, truth in enumerate(truths, start=1))


def test_two_readers_who_differ_in_the_diagnosis_alone_are_worth_a_look(folder, first):
    case = folder.save(first, patient="p", who="r1")
    save_reading(folder, replace(first, nodes=nodes("benign", "benign")), "r2")

    (suggestion,) = suggest_frames([], folder)

    assert (suggestion.key, suggestion.urgency) == (case.id, 1.0)
    assert suggestion.why == "two readers differ: node 1 metastatic against benign"


def test_truths_of_two_nodes_the_other_way_round_are_told(folder, first):
    case = folder.save(first, patient="p", who="r1")
    save_reading(folder, replace(first, nodes=nodes("benign", "metastatic")), "r2")

    told = "Dice {}1.00, node 1 metastatic against benign, node 2 benign against metastatic."
    assert told.format("with the first reading ") in describe_agreement(folder, "r2", case.id)
    assert told.format("") in find_undecided(folder, case.id, "r3").words


def test_another_diagnosis_is_decided_on_before_another_outline(folder, first):
    one = replace(first, instances=(first.instances == 1).astype(np.uint8), nodes=nodes("metastatic"))
    case = folder.save(one, patient="p", who="r1")
    save_reading(folder, replace(one, nodes=nodes("benign")), "r2")
    shorter = one.instances.copy()
    shorter[39] = 0
    save_reading(folder, replace(one, instances=shorter), "r3")

    found = find_undecided(folder, case.id, "r4")

    assert found.words.startswith("r2 reads this frame otherwise: Dice 1.00, metastatic against benign.")
    assert suggest_frames([], folder)[0].why == "two readers differ: metastatic against benign"


def test_a_truth_that_one_of_two_does_not_give_is_no_other_diagnosis(folder, first):
    folder.save(first, patient="p", who="r1")
    save_reading(folder, replace(first, nodes=nodes("unknown", "unknown")), "r2")

    assert suggest_frames([], folder) == []
