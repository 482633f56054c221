"""A stored frame that is segmented again: the network sees what it saw when the frame was new."""

from __future__ import annotations

import csv
from pathlib import Path

import msgspec
import numpy as np
import pytest

from napari_cln import read_frame, simulate
from napari_cln.annotation import Annotation, Case
from napari_cln.folder.dataset import TrainingFolder, as_recorded
from napari_cln.folder.readers import read_annotation
from napari_cln.folder.record import Provenance, Source
from napari_cln.imaging.preprocessing import prepare
from napari_cln.network.inference import Segmenter, segment
from napari_cln.types import Frame, PrepareConfig
from napari_cln.workflow.segment import segment_to_folder

SCREENS = Path(__file__).parents[1] / "data" / "overlay_pairs" / "shown"
FASCIA = 64
"""Seed of a frame on which a search finds marks that are none once the real ones were painted over."""


def shown(frame: Frame) -> Annotation:
    """A frame without a node."""
    instances = np.zeros(frame.shape, np.uint8)
    return Annotation(frame=frame, instances=instances, nodes=(), status="no-node")


@pytest.fixture
def study(tmp_path) -> TrainingFolder:
    return TrainingFolder.create(tmp_path / "study")


@pytest.fixture(scope="module")
def fascia() -> Frame:
    return Frame(pixels=simulate(FASCIA, scene="varied").frame.pixels)


def test_a_search_of_what_is_stored_would_find_other_marks(study, fascia):
    stored = study.read_image(study.save(shown(fascia)))

    assert not np.array_equal(prepare(Frame(pixels=stored)).image, prepare(fascia).image)


@pytest.mark.parametrize("how", ["by its record", "by its file"])
@pytest.mark.parametrize("name", ["fascia", *(path.name for path in sorted(SCREENS.glob("*.png")))])
def test_the_network_sees_the_same_picture_again(study, fascia, name, how):
    frame = fascia if name == "fascia" else read_frame(SCREENS / name)
    case = study.save(shown(frame))

    again = read_annotation(study, case).frame if how == "by its record" else read_frame(case.image)

    seen, first = prepare(as_recorded(again)), prepare(frame)
    assert np.array_equal(seen.image, first.image)
    assert not seen.overlay.any()


def test_every_way_to_segment_it_gives_the_score_that_it_had(study, fascia, tmp_path):
    first = segment(fascia, device="cpu")
    case = study.save(shown(fascia))

    again = segment(study.read_frame(case), device="cpu")
    of_file = segment(case.image, device="cpu")
    (told,) = segment_to_folder([case.image], tmp_path / "results", device="cpu")
    with (tmp_path / "results" / "results.csv").open(newline="") as file:
        row = next(csv.DictReader(file))

    assert again.malignancy == of_file.malignancy == first.malignancy
    assert told.status in ("ok", "unlike-training-data")
    assert float(row["malignancy"]) == pytest.approx(first.node_scores[0], abs=6e-5)


def kept(study: TrainingFolder, extent: str) -> tuple[Frame, Case]:
    frame = Frame(pixels=read_frame(min(SCREENS.glob("*.png"))).grey)
    return frame, study.keep(shown(frame), Provenance(who="r1", extent=extent))


@pytest.mark.parametrize("extent", ["whole", "uncleaned"])
def test_where_marks_were_kept_they_are_looked_for_again(study, extent):
    frame, case = kept(study, extent)

    again = study.read_frame(case)

    assert (again.is_clean, again.shape) == (False, frame.shape)
    assert np.array_equal(prepare(again).overlay, prepare(frame).overlay)


@pytest.mark.parametrize(
    ("extent", "is_clean"), [("scan area", True), ("whole", False), ("uncleaned", False)]
)
def test_of_an_older_record_the_cut_tells_whether_marks_were_painted_over(study, extent, is_clean):
    _, case = kept(study, extent)
    source = study.record(case.id).source

    older = msgspec.structs.replace(source, painted=None)

    assert older.is_painted == source.is_painted == is_clean
    assert b"painted" not in msgspec.json.encode(older)


def test_a_record_without_a_scan_area_has_it_searched_for(study):
    _, case = kept(study, "scan area")
    source = study.record(case.id).source

    assert source.stored_area == (0, 0, *case.shape)
    assert msgspec.structs.replace(source, area=None).stored_area is None


def test_the_scan_area_lies_in_the_picture_where_a_mask_leaves_it(study):
    frame = Frame(pixels=simulate(3).frame.pixels, scan_area=(200, 300, 500, 700))
    instances = np.zeros(frame.shape, np.uint8)
    instances[180:260, 280:360] = 1
    case = study.save(Annotation(frame=frame, instances=instances, status="corrected"))

    assert case.shape == (320, 420)
    assert study.read_frame(case).scan_area == (20, 20, 320, 420)


def test_a_scan_area_beside_the_picture_is_none():
    source = Source(kind="file", rows=10, columns=10, crop=(5, 5, 10, 10), area=(0, 0, 5, 5))

    assert source.stored_area is None


def test_a_drawn_scan_area_goes_before_that_of_the_record(study, fascia):
    case = study.save(shown(fascia))
    frame = read_frame(case.image)

    asked = as_recorded(Frame(pixels=frame.pixels, source=frame.source, scan_area=(10, 10, 200, 200)))

    assert (asked.scan_area, asked.is_clean) == ((10, 10, 200, 200), True)


def test_another_picture_under_the_name_of_a_stored_one_is_searched(study, fascia):
    case = study.save(shown(fascia))
    other = Frame(pixels=simulate(5).frame.pixels, source=case.image)

    assert as_recorded(other) is other


def test_a_stored_picture_elsewhere_is_searched(study, fascia, tmp_path):
    case = study.save(shown(fascia))
    copy = tmp_path / "elsewhere" / case.image.name
    copy.parent.mkdir()
    copy.write_bytes(case.image.read_bytes())
    frame = read_frame(copy)

    assert as_recorded(frame) is frame


def test_a_model_that_wants_the_marks_still_gets_the_stored_picture(study, fascia):
    case = study.save(shown(fascia))
    config = PrepareConfig(remove_overlay=False)

    assert np.array_equal(prepare(study.read_frame(case), config).image, prepare(fascia).image)


def test_one_function_prepares_for_all(study, fascia):
    case = study.save(shown(fascia))

    prepared = Segmenter("default", "cpu").prepare(read_frame(case.image))

    assert np.array_equal(prepared.image, prepare(fascia).image)
