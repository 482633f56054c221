"""Masks that 3D Slicer, ITK-SNAP and nnU-Net keep as one-slice volumes, brought in where they were drawn."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
from PIL import Image

from napari_cln.annotation import Node
from napari_cln.disk.tables import read_table
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.folder.formats.exchange import export_study, import_study
from napari_cln.folder.screens import confirm_screens, unseen_screens
from napari_cln.io.volumes import encode_volume, read_volume

NODES = (Node(id=1, level="III", side="left"), Node(id=2))


@pytest.fixture
def oblong(necks):
    """A frame of 160 rows and 224 columns, and a mask of two nodes on it."""
    pixels = np.ascontiguousarray(necks[0][0][:160])
    mask = np.zeros(pixels.shape, np.uint8)
    mask[40:80, 100:110] = mask[70:80, 100:150] = 1
    mask[120:140, 30:60] = 2
    return pixels, mask


def took(tmp_path, **options):
    work = import_study(tmp_path / "in", tmp_path / "study", clean=False, **options)
    steps = list(work)
    return TrainingFolder.open(tmp_path / "study"), steps, work.report


def put(folder, name, values, **options):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    if name.endswith(".png"):
        Image.fromarray(values).save(path)
    else:
        path.write_bytes(encode_volume(values, name[name.index(".") :], **options))
    return path


@pytest.mark.parametrize("image", ["a.png", "a.nrrd", "a.nii.gz"])
@pytest.mark.parametrize("mask", ["a.seg.nrrd", "a_mask.nrrd", "a_mask.nii.gz", "a_mask.nii"])
def test_a_mask_lies_where_it_was_drawn(oblong, tmp_path, image, mask):
    pixels, values = oblong
    put(tmp_path / "in", image, pixels)
    put(tmp_path / "in", mask, values, nodes=NODES)

    study, (step,), report = took(tmp_path, mask_values={"1": "node", "2": "node"})

    assert step.problem is None
    assert np.array_equal(study.read_instances(step.case) > 0, values > 0)
    assert np.array_equal(study.read_image(step.case), pixels)
    assert report.unused_files == {}


def test_segments_say_by_their_codes_that_they_are_nodes_with_level_and_side(oblong, tmp_path):
    pixels, values = oblong
    put(tmp_path / "in", "a.png", pixels)
    put(tmp_path / "in", "a.seg.nrrd", values, nodes=NODES)

    study, (step,), _ = took(tmp_path)

    assert np.array_equal(study.read_instances(step.case), values)
    assert [(node.level, node.side) for node in step.case.nodes] == [("III", "left"), (None, None)]


def test_a_square_mask_whose_axes_do_not_tell_rows_from_columns_is_refused(necks, tmp_path):
    pixels, outline = necks[0]
    put(tmp_path / "in", "a.png", pixels)
    image = nibabel.Nifti1Image(
        outline.astype(np.uint8)[..., None], np.eye(4)
    )  # rows first, as numpy users do
    nibabel.save(image, tmp_path / "in" / "a_mask.nii.gz")

    _, (step,), _ = took(tmp_path)

    assert "square and says of its axes that they run otherwise" in step.problem


def test_a_mask_that_was_saved_rows_first_is_refused_by_its_size(oblong, tmp_path):
    pixels, values = oblong
    put(tmp_path / "in", "a.png", pixels)
    image = nibabel.Nifti1Image((values == 1).astype(np.uint8)[..., None], np.eye(4))
    nibabel.save(image, tmp_path / "in" / "a_mask.nii.gz")

    _, (step,), _ = took(tmp_path)

    assert "224×160 pixels, its image 160×224" in step.problem


def test_an_image_and_a_mask_with_other_axes_are_refused(oblong, tmp_path):
    pixels, values = oblong
    put(tmp_path / "in", "a.nii.gz", pixels)
    flipped = nibabel.Nifti1Image((values == 1).astype(np.uint8).T[..., None], np.diag([-1.0, 1, 1, 1]))
    nibabel.save(flipped, tmp_path / "in" / "a_mask.nii.gz")

    _, (step,), _ = took(tmp_path)

    assert "one may lie turned or mirrored on the other" in step.problem


def test_an_nnunet_dataset_of_one_slice_volumes_is_read(oblong, tmp_path):
    pixels, values = oblong
    put(tmp_path / "in" / "imagesTr", "n1_0000.nii.gz", pixels)
    put(tmp_path / "in" / "labelsTr", "n1.nii.gz", (values == 1).astype(np.uint8))
    description = {
        "channel_names": {"0": "US"},
        "labels": {"background": 0, "lymph node": 1},
        "numTraining": 1,
        "file_ending": ".nii.gz",
    }
    (tmp_path / "in" / "dataset.json").write_text(json.dumps(description))

    study, (step,), report = took(tmp_path)

    assert report.kind == "an nnU-Net dataset"
    assert np.array_equal(study.read_instances(step.case), values == 1)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["nrrd", "nifti"])
def test_an_export_as_volumes_comes_back_with_its_masks(study, tmp_path, form):
    list(export_study(study, form, tmp_path / "in"))
    assert not [
        step.problem for step in import_study(tmp_path / "in", tmp_path / "back", clean=False) if step.problem
    ]

    back = TrainingFolder.open(tmp_path / "back")
    for case in study.cases():
        if case.nodes:
            assert np.array_equal(back.read_instances(back.case(case.id)) > 0, study.read_instances(case) > 0)


@pytest.mark.parametrize("form", ["nrrd", "nifti", "csv"])
def test_a_picture_of_two_scales_leaves_without_one(folder, zoomed, tmp_path, form):
    folder.save(zoomed(2), patient="P1")
    confirm_screens(folder, unseen_screens(folder), "r1")

    list(export_study(folder, form, tmp_path / "out"))

    if form == "csv":
        (row,) = read_table(tmp_path / "out" / "labels.csv").rows
        assert (row["row_mm"], row["column_mm"]) == ("", "")
    for path in (tmp_path / "out").glob("*.n*"):
        assert read_volume(path).spacing_mm in (None, (1.0, 1.0))


@pytest.fixture
def judged_in_part(folder, annotate):
    """A frame with a node of each status, and a part that nobody judged."""
    mask = np.zeros((224, 224), np.uint8)
    mask[20:50, 20:60], mask[70:100, 20:60], mask[70:100, 90:140] = 1, 2, 3
    unjudged = np.zeros(mask.shape, bool)
    unjudged[150:180, 90:140] = True
    statuses = ("accepted", "rejected", "predicted")
    nodes = tuple(Node(id=n, status=status) for n, status in enumerate(statuses, start=1))
    folder.save(annotate(0, mask=mask, nodes=nodes, not_judged=unjudged), patient="P1")
    confirm_screens(folder, unseen_screens(folder), "r1")
    return folder


@pytest.mark.parametrize("form", ["nrrd", "nifti", "dicom"])
def test_a_rejected_node_is_not_exported_and_what_nobody_judged_is_told(judged_in_part, tmp_path, form):
    (_, told) = export_study(judged_in_part, form, tmp_path / "in")

    assert "What nobody judged on 1 frame is background in this format" in told.note
    assert ("nodes that a model predicted" in told.note) == (form == "nifti")
    meanings = {"mask_values": {"1": "node", "3": "node"}} if form == "nifti" else {}
    (step,) = import_study(tmp_path / "in", tmp_path / "back", clean=False, **meanings)
    back = TrainingFolder.open(tmp_path / "back")
    whole = judged_in_part.read_instances(judged_in_part.cases()[0])
    assert np.array_equal(back.read_instances(step.case) > 0, np.isin(whole, [1, 3]))


def test_a_node_that_was_predicted_comes_back_as_such(judged_in_part, tmp_path):
    list(export_study(judged_in_part, "nrrd", tmp_path / "in"))

    (step,) = import_study(tmp_path / "in", tmp_path / "back", clean=False)

    assert [node.status for node in step.case.nodes] == ["accepted", "predicted"]
    assert step.case.status == "corrected"
    label = np.array(Image.open(step.case.mask))
    assert label.sum() == 30 * 40


@pytest.mark.parametrize(("word", "status"), [("completed", "accepted"), ("inprogress", "predicted")])
def test_a_predicted_node_that_slicer_calls_completed_is_accepted(oblong, tmp_path, word, status):
    pixels, values = oblong
    put(tmp_path / "in", "a.png", pixels)
    nodes = tuple(Node(id=n, status="predicted") for n in (1, 2))
    path = put(tmp_path / "in", "a.seg.nrrd", values, nodes=nodes)
    told = path.read_bytes().replace(b"Status:inprogress", b"Status:" + word.encode())
    path.write_bytes(told)

    _, (step,), _ = took(tmp_path)

    assert {node.status for node in step.case.nodes} == {step.case.status} == {status}


def test_what_somebody_painted_in_slicer_is_accepted(oblong, tmp_path):
    pixels, values = oblong
    put(tmp_path / "in", "a.png", pixels)
    path = put(tmp_path / "in", "a.seg.nrrd", values, nodes=NODES)
    path.write_bytes(path.read_bytes().replace(b"Status:completed", b"Status:inprogress"))

    _, (step,), _ = took(tmp_path)

    assert step.case.status == "accepted"
