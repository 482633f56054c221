"""Whatever way a screen comes in, what stands beside its scan area does not stay in the folder."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from napari_cln.folder.dataset import TrainingFolder
from napari_cln.folder.formats.exchange import import_study
from napari_cln.folder.screens import unseen_screens
from napari_cln.imaging.scan_area import find_scan_area
from napari_cln.io.sources import read_frame

pytestmark = pytest.mark.slow  # its frames take seconds to make

KINDS = ("nnunet", "coco", "plain")


def put(root, kind, images):
    """Screens as a set of one kind, each with a mask of one node in the middle of its scan area."""
    frames = {}
    folders = {"nnunet": ("imagesTr", "labelsTr"), "coco": ("images",), "plain": ("images", "masks")}[kind]
    for folder in folders:
        (root / folder).mkdir(parents=True)
    annotations, listed = [], []
    for number, path in enumerate(images, start=1):
        frame = read_frame(path)
        row0, column0, row1, column1 = find_scan_area(frame)
        row, column = (row0 + row1) // 2, (column0 + column1) // 2
        mask = np.zeros(frame.shape, np.uint8)
        mask[row : row + 20, column : column + 30] = 1
        name = f"s{number:02d}"
        frames[number] = frame, mask
        picture = Image.fromarray(frame.pixels)
        if kind == "nnunet":
            picture.save(root / "imagesTr" / f"{name}_0000.png")
            Image.fromarray(mask).save(root / "labelsTr" / f"{name}.png")
        else:
            picture.save(root / "images" / f"{name}.png")
            if kind == "plain":
                Image.fromarray(mask * 255).save(root / "masks" / f"{name}.png")
        rows, columns = frame.shape
        listed.append({"id": number, "file_name": f"{name}.png", "height": rows, "width": columns})
        polygon = [column, row, column + 30, row, column + 30, row + 20, column, row + 20]
        annotations.append(
            {"id": number, "image_id": number, "category_id": 1, "segmentation": [polygon], "iscrowd": 0}
            | {"bbox": [column, row, 30, 20], "area": 600}
        )
    if kind == "nnunet":
        description = {"labels": {"background": 0, "lymph node": 1}, "file_ending": ".png"}
        description |= {"channel_names": {"0": "US"}, "numTraining": len(frames)}
        (root / "dataset.json").write_text(json.dumps(description))
    if kind == "coco":
        categories = [{"id": 1, "name": "lymph node"}]
        content = {"images": listed, "annotations": annotations, "categories": categories}
        (root / "annotations.json").write_text(json.dumps(content))
    return frames


@pytest.mark.parametrize("kind", KINDS)
def test_what_lies_outside_the_scan_area_is_black_in_every_set(data, tmp_path, kind):
    images = sorted((data / "overlay_pairs").glob("*shown*.png")) or sorted(
        (data / "overlay_pairs").rglob("shown/*.png")
    )
    frames = put(tmp_path / "in", kind, images[:6])

    steps = list(import_study(tmp_path / "in", tmp_path / "study"))

    assert [step.problem for step in steps] == [None] * len(frames)
    study = TrainingFolder.open(tmp_path / "study")
    by_id = {study.identify(frame): (frame, mask) for frame, mask in frames.values()}
    for case in study.cases():
        frame, mask = by_id[case.id]
        record = study.record(case.id)
        stored, (x0, y0, x1, y1) = study.read_image(case), record.source.crop
        whole = np.zeros(frame.shape, np.uint8)
        whole[y0:y1, x0:x1] = stored
        a0, b0, a1, b1 = find_scan_area(frame)
        outside = np.ones(frame.shape, bool)
        outside[a0:a1, b0:b1] = False
        assert frame.grey[outside].any()  # there was something to take away
        assert not whole[outside].any()
        assert record.source.area == (b0, a0, b1, a1)
        if kind != "plain":
            assert stored.shape == frame.shape
            assert np.array_equal(stored[~outside], frame.grey[~outside])
            assert np.array_equal(study.read_instances(case), mask)


def test_screens_of_all_makers_come_in_without_what_stands_beside_the_tissue(shared_data, tmp_path):
    images = sorted(path for path in (shared_data / "us_screens" / "images").glob("*.*"))
    readable = [path for path in images if path.suffix.lower() in (".png", ".jpg", ".jpeg")]
    frames = put(tmp_path / "in", "nnunet", readable)

    steps = list(import_study(tmp_path / "in", tmp_path / "study"))

    study = TrainingFolder.open(tmp_path / "study")
    taken = [step.case for step in steps if step.case is not None]
    assert len(taken) >= 15
    by_id = {study.identify(frame): frame for frame, _ in frames.values()}
    for case in taken:
        frame = by_id[case.id]
        a0, b0, a1, b1 = find_scan_area(frame)
        stored = study.read_image(case).copy()
        stored[a0:a1, b0:b1] = 0
        assert not stored.any()
    assert sum(map(len, unseen_screens(study).values())) == len(taken)


def test_what_is_kept_uncleaned_on_request_is_a_kind_of_its_own(data, tmp_path):
    images = sorted((data / "overlay_pairs").rglob("*shown*.png")) or sorted(
        (data / "overlay_pairs").rglob("shown/*.png")
    )
    frames = put(tmp_path / "in", "nnunet", images[:1])

    list(import_study(tmp_path / "in", tmp_path / "study", clean=False))

    study = TrainingFolder.open(tmp_path / "study")
    (case,) = study.cases()
    assert np.array_equal(study.read_image(case), frames[1][0].grey)
    (kind,) = unseen_screens(study)
    assert kind.endswith(", uncleaned")
