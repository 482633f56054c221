"""Rows of the table from frames with two nodes, none, and wrong ones."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn_frames import FAR, LEFT, RIGHT, annotation, frame, prediction

from napari_cln import Case, Node, TrainingFolder
from napari_cln.errors import DatasetError
from napari_cln.io.sources import read_frame
from napari_cln.study.cases import CaseRow, read_rows, write_rows
from napari_cln.study.matching import compare, reference_instances
from napari_cln.types import Region


def rows_of(truth, predicted):
    return compare(truth, reference_instances(truth), predicted)


def test_a_node_outlined_alike_has_dice_1_and_its_own_score():
    (row,) = rows_of(annotation(LEFT), prediction(LEFT, scores=(0.77,)))

    assert (row.kind, row.dice, row.iou, row.frame_dice, row.hd95_mm, row.assd_px) == ("node", 1, 1, 1, 0, 0)
    assert (row.score, row.score_of, row.frame_score, row.cutoff) == (0.77, "node", 0.77, 0.4)
    assert (row.truth, row.truth_source, row.level, row.side, row.vendor) == (
        "metastatic",
        "fna",
        "IV",
        "left",
        "Acme 1",
    )
    assert row.confidence == 0.9
    assert row.reference_long_mm == row.predicted_long_mm == pytest.approx(row.reference_long_px / 10)


def test_a_missed_node_keeps_its_row_and_the_score_of_the_frame():
    (row,) = rows_of(annotation(LEFT), prediction())

    assert (row.missed, row.wrong_node, row.dice, row.hd95_mm) == (True, False, 0, None)
    assert (row.score, row.score_of) == (0.3, "frame")


def test_another_structure_instead_is_a_wrong_node_and_a_stray():
    wrong, stray = rows_of(annotation(LEFT), prediction(FAR))

    assert (wrong.missed, wrong.wrong_node, wrong.dice, wrong.score) == (False, True, 0, 0.3)
    assert (stray.kind, stray.predicted_node, stray.truth, stray.score) == ("stray", 1, "unknown", 0.8)


def test_outlines_that_barely_touch_are_two_structures():
    touching = (slice(39, 59), slice(11, 51))

    wrong, stray = rows_of(annotation(LEFT), prediction(touching))

    assert 0 < wrong.dice < 0.05 + 1e-9
    assert (wrong.wrong_node, wrong.hd95_px, stray.kind) == (True, None, "stray")


def test_one_of_two_nodes_found_misses_the_other():
    first, second = rows_of(annotation(LEFT, RIGHT), prediction(RIGHT))

    assert (first.missed, second.missed, second.dice) == (True, False, 1)
    assert first.frame_dice == second.frame_dice == pytest.approx(2 * 200 / (1000 + 200), abs=1e-6)


def test_a_frame_without_a_node_has_one_row():
    (row,) = rows_of(annotation(), prediction())

    assert (row.kind, row.node, row.frame_dice, row.truth, row.compared) == (
        "frame",
        0,
        None,
        "unknown",
        True,
    )


def test_a_find_in_a_frame_without_a_node_is_a_stray():
    (row,) = rows_of(annotation(), prediction(LEFT))

    assert (row.kind, row.frame_dice) == ("stray", 0)


def test_a_model_that_only_classifies_scores_each_node_by_its_frame():
    (row,) = rows_of(annotation(LEFT), prediction(mask_threshold=None))

    assert (row.compared, row.dice, row.missed, row.score, row.truth) == (
        False,
        None,
        False,
        0.3,
        "metastatic",
    )


def test_a_case_without_a_mask_keeps_its_truth(tmp_path):
    case = Case(
        id="a" * 16,
        image=tmp_path / "a.png",
        mask=None,
        instances=None,
        nodes=(Node(id=1, truth="benign", truth_source="histology"),),
        patient="p9",
        status="accepted",
        split="validation",
    )

    (row,) = rows_of(case, prediction(LEFT, scores=(0.66,)))

    assert (row.kind, row.truth, row.truth_source, row.score) == ("frame", "benign", "histology", 0.66)
    assert (row.patient, row.split, row.compared) == ("p9", "validation", False)


def test_a_rejected_node_is_no_reference():
    truth = annotation(LEFT, RIGHT)
    truth = replace(truth, nodes=(replace(truth.nodes[0], status="rejected"), truth.nodes[1]))

    node, stray = rows_of(truth, prediction(LEFT, RIGHT))

    assert (node.node, node.dice, stray.kind) == (2, 1, "stray")


def test_a_node_that_only_a_model_drew_is_no_reference_of_a_finished_frame(tmp_path):
    truth = annotation(LEFT, RIGHT)
    truth = replace(truth, nodes=(replace(truth.nodes[0], status="predicted"), truth.nodes[1]))
    folder = TrainingFolder.create(tmp_path / "study")
    case = folder.save(truth, patient="one")
    stored = reference_instances(case, folder.read_instances)

    (node, stray), of_folder = rows_of(truth, prediction(LEFT, RIGHT)), case.reference_nodes

    assert (node.node, node.dice, stray.kind) == (2, 1, "stray")
    assert [one.id for one in of_folder] == np.unique(stored)[1:].tolist() == [2]
    np.testing.assert_array_equal(stored > 0, read_frame(case.mask).grey == 1)


def test_a_mask_that_nobody_stands_for_is_no_reference():
    for status in ("predicted", "rejected"):
        truth = replace(annotation(LEFT), status=status)
        truth = replace(truth, nodes=(replace(truth.nodes[0], status=status),))

        (row,) = rows_of(truth, prediction(LEFT))

        assert (row.kind, row.compared) == ("frame", False)


def test_the_source_of_a_class_is_that_of_a_node_that_has_it(tmp_path):
    nodes = (
        Node(id=1, status="rejected", truth="benign", truth_source="histology"),
        Node(id=2, truth="benign", truth_source="follow-up"),
        Node(id=3, truth="metastatic", truth_source="fna"),
    )
    folder = TrainingFolder.create(tmp_path / "study")
    case = folder.save(replace(annotation(), nodes=nodes, status="corrected"), patient="one")

    (row,) = rows_of(case, prediction(LEFT))

    assert (row.kind, row.truth, row.truth_source) == ("frame", "metastatic", "fna")


def test_without_calibration_there_are_no_millimetres():
    truth, predicted = annotation(LEFT), prediction(LEFT)
    truth = replace(truth, frame=frame(spacing_mm=None))

    (row,) = rows_of(truth, predicted)

    assert (row.hd95_mm, row.reference_long_mm, row.predicted_short_mm) == (None, None, None)
    assert row.hd95_px == 0


def test_a_reference_of_a_folder_is_measured_in_the_scale_of_its_part():
    drawn, predicted = annotation(LEFT, RIGHT), prediction(LEFT, RIGHT)
    halves = ((0, 0, 100, 60), 0.1), ((0, 60, 100, 120), 0.2)
    regions = tuple(Region(box=box, spacing_mm=(mm, mm)) for box, mm in halves)
    truth = Case(
        id="0123456789abcdef",
        image=Path("x.png"),
        mask=Path("x.png"),
        instances=None,
        nodes=drawn.nodes,
        patient="p",
        status="corrected",
        regions=regions,
        shape=(100, 120),
    )

    rows = compare(truth, drawn.instances, predicted)

    assert [round(row.reference_long_mm / row.reference_long_px, 6) for row in rows] == [0.1, 0.2]


def test_masks_of_two_sizes_are_refused():
    predicted = replace(prediction(LEFT), instances=np.zeros((50, 50), np.uint8))

    with pytest.raises(DatasetError, match=r"reference mask of \(100, 120\).*Predict the image"):
        rows_of(annotation(LEFT), predicted)


def test_the_table_comes_back_as_it_was_written(tmp_path):
    rows = [
        *rows_of(annotation(LEFT, RIGHT), prediction(LEFT, FAR)),
        *rows_of(annotation(), prediction()),
        *rows_of(annotation(LEFT), prediction(mask_threshold=None)),
    ]

    write_rows(rows, tmp_path / "cases.csv")

    assert read_rows(tmp_path / "cases.csv") == rows


def test_a_table_of_someone_else_needs_four_columns(tmp_path):
    path = tmp_path / "cases.csv"
    path.write_text("id,patient,score,frame_score,comment\na,p,0.5,0.6,hello\n")

    assert read_rows(path) == [CaseRow(id="a", patient="p", score=0.5, frame_score=0.6)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,patient,score\na,p,0.5\n", r"cases\.csv has no column frame_score"),
        ("id,patient,score,frame_score\na,p,half,0.5\n", r"odd value in line 2: .*half"),
    ],
)
def test_an_odd_table_says_where(tmp_path, text, message):
    path = tmp_path / "cases.csv"
    path.write_text(text)

    with pytest.raises(DatasetError, match=message):
        read_rows(path)


def test_scores_are_numbers():
    (row,) = rows_of(annotation(LEFT), prediction(LEFT))

    assert isinstance(row.score, float)
    assert math.isfinite(row.score)
