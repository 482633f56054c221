"""The last stroke survives: kept, listed, restored, discarded for a day."""

import json
import time

import numpy as np
import pytest

from napari_cln.disk.atomic import read_json, write_atomically
from napari_cln.errors import DatasetError
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.folder.health.check import check_study
from napari_cln.types import Frame


@pytest.fixture
def kept(folder, annotate):
    annotation = annotate(0, note="half done", seconds=4.0, based_on="ynet@1")
    return folder.autosave.keep(annotation, folder.identify(annotation.frame), who="r1", revision=3)


def test_a_stroke_comes_back_after_a_restart(folder, annotate, necks, kept):
    again = TrainingFolder.open(folder.path)

    (stroke,) = again.autosave.list()
    annotation = again.autosave.restore(stroke, annotate(0).frame)

    assert (stroke.id, stroke.who, stroke.revision) == (again.identify(annotate(0).frame), "r1", 3)
    assert np.array_equal(annotation.instances > 0, necks[0][1])
    assert (annotation.nodes, annotation.note, annotation.seconds) == (annotate(0).nodes, "half done", 4.0)
    assert annotation.based_on == "ynet@1"


def test_the_newest_stroke_of_a_reader_replaces_the_former(folder, annotate, necks, kept):
    folder.autosave.keep(annotate(0, mask=np.roll(necks[0][1], 2)), kept.id, who="r1")
    folder.autosave.keep(annotate(0), kept.id, who="r2")

    strokes = {stroke.who: stroke for stroke in folder.autosave.list()}

    assert set(strokes) == {"r1", "r2"}
    assert np.array_equal(
        folder.autosave.restore(strokes["r1"], annotate(0).frame).instances > 0, np.roll(necks[0][1], 2)
    )


def test_a_save_forgets_the_stroke_of_its_reader_alone(folder, annotate, kept):
    folder.autosave.keep(annotate(0), kept.id, who="r2")

    folder.save(annotate(0), who="r1")

    assert [stroke.who for stroke in folder.autosave.list()] == ["r2"]


def test_a_discarded_stroke_can_be_had_back_for_one_day(folder, annotate, kept):
    folder.autosave.discard(kept)

    assert folder.autosave.list() == []
    (stroke,) = folder.autosave.list(discarded=True)
    assert folder.autosave.restore(stroke, annotate(0).frame).mask.any()

    write_atomically(
        stroke.path,
        json.dumps(read_json(stroke.path) | {"discarded": time.time() - 86_401, "checksum": None}).encode(),
    )
    assert folder.autosave.list(discarded=True) == []
    assert not stroke.path.exists()


def test_a_discarded_stroke_survives_the_strokes_and_saves_after_it(folder, annotate, necks, kept):
    folder.autosave.discard(kept)

    folder.autosave.keep(annotate(0, mask=np.roll(necks[0][1], 2)), kept.id, who="r1")
    folder.save(annotate(0), who="r1")

    (stroke,) = folder.autosave.list(discarded=True)
    assert np.array_equal(folder.autosave.restore(stroke, annotate(0).frame).instances > 0, necks[0][1])
    assert folder.autosave.list() == []


def test_a_stroke_is_not_put_on_another_frame(folder, kept):
    with pytest.raises(DatasetError, match="224×224 pixels, the frame 10×12"):
        folder.autosave.restore(kept, Frame(pixels=np.zeros((10, 12), np.uint8)))


def test_a_stroke_that_was_cut_short_is_not_offered(folder, kept):
    kept.path.with_suffix(".png").unlink()

    assert folder.autosave.list() == []


def test_strokes_name_no_file(folder, annotate, tmp_path, kept):
    frame = Frame(pixels=annotate(0).frame.pixels, source=tmp_path / "DOE_JANE.dcm")
    folder.autosave.keep(annotate(0, frame=frame), kept.id, who="r1")

    assert b"JANE" not in kept.path.read_bytes()


def test_a_flipped_bit_in_a_stroke_is_read_past(study, annotate, necks):
    study.autosave.keep(annotate(0), study.identify(annotate(0).frame), who="r1")
    (stroke,) = study.autosave.list()
    was = stroke.path.read_bytes()
    for place in range(0, len(was), 41):
        flipped = bytearray(was)
        flipped[place] ^= 2
        stroke.path.write_bytes(flipped)

        assert study.autosave.list() == [stroke]


def test_a_stroke_that_can_not_be_offered_is_named(study, annotate):
    study.autosave.keep(annotate(0), study.identify(annotate(0).frame), who="r1")
    (stroke,) = study.autosave.list()
    stroke.path.write_bytes(bytes(300))

    assert study.autosave.list() == []
    (fault,) = check_study(study).faults
    assert (fault.kind, fault.severity) == ("stroke", "warning")
    assert f"The stroke {stroke.path.name} is damaged" in fault.message
