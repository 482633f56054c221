"""The training folder: what a save keeps, and that it keeps it."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from napari_cln.annotation import Annotation, Node
from napari_cln.disk.user import config_folder, hashed_key, pseudonym
from napari_cln.errors import ConflictError, DatasetError
from napari_cln.folder.dataset import TrainingFolder, read_not_judged
from napari_cln.folder.health.repair import repair_all
from napari_cln.folder.pictures import hash_pixels
from napari_cln.folder.readers import save_reading
from napari_cln.folder.state import maker_of
from napari_cln.types import Frame, Region


def record_of(study, case):
    return json.loads(study.layout.record(case.id).read_text())


def test_a_saved_frame_comes_back(folder, annotate, necks):
    nodes = (Node(id=1, truth="metastatic", truth_source="tg", level="IV", side="right", p_malignant=0.7),)

    saved = folder.save(annotate(1, nodes=nodes), patient="P1", who="r1")

    case = TrainingFolder.open(folder.path).case(saved.id)
    assert case == saved
    assert case.nodes == nodes
    assert case.truth == "metastatic"
    assert np.array_equal(folder.read_instances(case) > 0, necks[1][1])


def test_the_id_is_the_hash_of_the_grey_pixels(folder, annotate):
    frame = annotate(0).frame

    case = folder.save(annotate(0))

    assert case.id == hash_pixels(frame.grey)[:16]
    assert case.id == folder.identify(Frame(pixels=np.repeat(frame.grey[..., None], 3, axis=2)))


def test_the_folder_is_an_nnunet_dataset(study):
    images = sorted(path.name for path in study.layout.images.iterdir())
    labels = sorted(path.name for path in study.layout.labels.iterdir())
    description = json.loads(study.layout.dataset.read_text())

    assert [name.replace("_0000", "") for name in images] == labels
    assert description["numTraining"] == len(labels) == 12
    assert description["labels"] == {"background": 0, "lymph node": 1}
    assert (description["channel_names"], description["file_ending"]) == ({"0": "ultrasound"}, ".png")
    for path in study.layout.labels.iterdir():
        assert set(np.unique(np.array(Image.open(path)))) <= {0, 1}
    assert (study.path / ".gitattributes").read_text() == "*.png binary\n*.json -text\n"
    assert ".cln/" in (study.path / ".gitignore").read_text().splitlines()


def test_several_nodes_keep_their_ids_beside_one_label(folder, annotate, necks):
    instances = necks[0][1].astype(np.uint8)
    instances[:40] *= 2
    instances[200:, 200:] = 7
    nodes = (Node(id=1), Node(id=7, status="rejected"))

    case = folder.save(annotate(0, instances=instances, nodes=nodes))

    assert np.array_equal(folder.read_instances(case), instances)
    assert np.array_equal(np.array(Image.open(case.mask)), (instances > 0) & (instances != 7))


def test_a_frame_nobody_has_accepted_has_no_label(folder, annotate, necks):
    case = folder.save(annotate(0, status="predicted"))

    assert case.mask is None
    assert not list(folder.layout.labels.iterdir())
    assert not list(folder.layout.images.iterdir())
    assert np.array_equal(folder.read_instances(case) > 0, necks[0][1])

    case = folder.save(annotate(0, status="accepted"))

    assert case.mask is not None and case.mask.exists() and case.image.exists()
    assert case.image.parent == folder.layout.images
    assert not list(folder.layout.unmasked.iterdir())


def test_no_node_is_kept_and_differs_from_not_looked_at(folder, annotate):
    case = folder.save(annotate(10))

    assert case.status == "no-node"
    assert case.mask is not None
    assert not np.array(Image.open(case.mask)).any()


def test_a_mask_that_was_cleared_is_written(folder, annotate):
    folder.save(annotate(0))

    case = folder.save(annotate(0, mask=np.zeros((224, 224)), status="no-node"))

    assert not folder.read_instances(case).any()
    assert case.truth == "unknown"


def test_no_node_with_a_node_is_refused(folder, annotate):
    with pytest.raises(DatasetError, match="marked as showing no node, but has 1"):
        folder.save(annotate(0, status="no-node"))


def test_the_image_is_written_once(folder, annotate):
    case = folder.save(annotate(0))
    before = (case.image.stat().st_ino, case.image.read_bytes())

    folder.save(annotate(0, truth="metastatic"), who="r2")

    assert (case.image.stat().st_ino, case.image.read_bytes()) == before


def test_only_the_scan_area_is_stored_and_the_mask_with_it(folder, necks):
    pixels, outline = necks[0]
    screen = np.zeros((300, 320), np.uint8)
    grey = Frame(pixels=pixels).grey
    screen[50:274, 60:284] = grey
    mask = np.zeros((300, 320), np.uint8)
    mask[50:274, 60:284] = outline
    frame = Frame(pixels=screen, scan_area=(50, 60, 274, 284))

    annotation = Annotation(frame=frame, instances=mask)
    case = folder.save(annotation, overlay=np.zeros((300, 320), bool))

    assert np.array_equal(folder.read_image(case), grey)
    assert np.array_equal(folder.read_instances(case), outline)
    assert record_of(folder, case)["source"]["crop"] == [60, 50, 284, 274]

    mask[0, 0] = 1
    with pytest.raises(DatasetError, match="1 painted pixels lie outside the scan area"):
        folder.save(Annotation(frame=frame, instances=mask))


def test_a_mask_that_leaves_the_scan_area_brings_no_text_from_beside_it(folder, necks):
    screen = np.full((300, 320), 20, np.uint8)
    screen[50:274, 60:284] = Frame(pixels=necks[0][0]).grey
    screen[60:70, 35:55:2] = 255  # a name, in the box round both but in neither
    mask = np.zeros((300, 320), np.uint8)
    mask[200:230, 30:70] = 1

    case = folder.save(
        Annotation(frame=Frame(pixels=screen, scan_area=(50, 60, 274, 284)), instances=mask),
        overlay=np.zeros((300, 320), bool),
    )

    stored = folder.read_image(case)
    assert not stored[:150, :30].any()
    assert np.array_equal(stored[150:180, :40], screen[200:230, 30:70])
    assert np.array_equal(stored[:, 30:], screen[50:274, 60:284])


def test_burned_in_marks_are_painted_over(folder, annotate, necks):
    pixels = Frame(pixels=necks[10][0]).grey.copy()
    clean = pixels.copy()
    pixels[100:103, 60:120] = 255
    marks = np.zeros(pixels.shape, bool)
    marks[100:103, 60:120] = True

    case = folder.save(annotate(10, frame=Frame(pixels=pixels, scan_area=(0, 0, 224, 224))))

    stored = folder.read_image(case).astype(int)
    assert (stored[marks] == 255).sum() == 0
    assert (
        np.abs(stored[marks] - clean[marks]).mean()
        < np.abs(pixels[marks].astype(int) - clean[marks]).mean() / 4
    )


def test_an_image_opened_from_the_folder_keeps_its_id(folder, necks):

    screen = np.zeros((300, 320), np.uint8)
    screen[50:274, 60:284] = Frame(pixels=necks[0][0]).grey
    annotation = Annotation(
        frame=Frame(pixels=screen, scan_area=(50, 60, 274, 284)), instances=np.zeros_like(screen)
    )
    case = folder.save(annotation)
    stored = Frame(pixels=folder.read_image(case), source=case.image)

    again = folder.save(Annotation(frame=stored, instances=necks[0][1].astype(np.uint8)))

    assert again.id == case.id
    assert np.array_equal(folder.read_instances(again) > 0, necks[0][1])


def test_sizes_stand_in_the_record_in_millimetres(folder, annotate):
    mask = np.zeros((224, 224))
    mask[20:40, 30:130] = 1
    frame = Frame(pixels=annotate(0).frame.pixels, spacing_mm=(0.1, 0.1), scan_area=(0, 0, 224, 224))

    record = record_of(folder, folder.save(annotate(0, mask=mask, frame=frame)))

    (node,) = record["nodes"]
    assert node["area_px"] == 2000
    assert node["long_mm"] == pytest.approx(10.1, abs=0.4)
    assert record["spacing_mm"] == [0.1, 0.1]


def test_the_millimetres_of_a_region_hold_for_a_node_inside_it(folder, annotate):
    region = Region(box=(0, 0, 224, 224), spacing_mm=(0.2, 0.2))
    frame = Frame(pixels=annotate(0).frame.pixels, regions=(region,), scan_area=(0, 0, 224, 224))

    assert folder.save(annotate(0, frame=frame)).spacing_mm == (0.2, 0.2)


LONG_MM = {1: pytest.approx(14.2, abs=0.1), 2: pytest.approx(7.1, abs=0.1)}
"""Of the two nodes of a screen with a zoom inset."""


def long_axes(record):
    return {entry.id: entry.long_mm for entry in record.nodes}


@pytest.mark.parametrize("first", [1, 2])
def test_each_node_has_the_millimetres_of_its_own_part_whichever_is_saved_first(folder, zoomed, first):
    case = folder.save(zoomed(first))
    case = folder.save(zoomed(1, 2), expected_revision=case.revision)

    assert case.spacing_mm is None
    assert long_axes(folder.record(case.id)) == LONG_MM


def test_a_frame_that_is_opened_from_the_folder_has_the_scales_of_its_parts(folder, zoomed):
    case = folder.save(zoomed(1, 2))

    frame = folder.read_frame(case)
    again = folder.save(zoomed(1, 2, frame=frame, box=(20, 10, 214, 220)))

    assert frame.shape == (194, 210)
    assert again.regions == case.regions == frame.regions
    assert long_axes(folder.record(case.id)) == LONG_MM


def test_a_node_outside_the_only_calibrated_part_has_no_millimetres_whoever_opens_it(folder, zoomed):
    whole = zoomed(1).frame
    frame = replace(whole, regions=whole.regions[1:], spacing_mm=(0.1, 0.1))
    case = folder.save(zoomed(1, 2, frame=frame))

    folder.save(zoomed(1, 2, frame=folder.read_frame(case), box=(20, 10, 214, 220)))

    assert long_axes(folder.record(case.id)) == {1: None, 2: LONG_MM[2]}


def test_a_record_of_a_scale_for_all_is_set_right_by_the_frame_that_has_the_parts(folder, zoomed):
    whole = zoomed(1).frame
    earlier = replace(whole, regions=(), spacing_mm=(0.2, 0.2))
    case = folder.save(zoomed(1, 2, frame=earlier))

    again = folder.save(zoomed(1, 2))

    assert (case.spacing_mm, again.spacing_mm, len(again.regions)) == ((0.2, 0.2), None, 2)
    assert long_axes(folder.record(case.id)) == LONG_MM


def test_a_patient_is_a_hash_and_the_salt_lies_outside(folder, annotate, config):
    case = folder.save(annotate(0), patient="Jane Doe")

    assert case.patient == hashed_key((config / "patient-salt").read_bytes(), "patient", "Jane Doe")
    for path in folder.path.rglob("*"):
        if path.is_file():
            assert b"Jane" not in path.read_bytes()
            assert (config / "patient-salt").read_bytes() not in path.read_bytes()


@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_keys_differ_exactly_when_names_do(first, second):
    import unicodedata

    def spell(name):
        return unicodedata.normalize("NFKC", name).strip().casefold()

    same = hashed_key(b"s" * 32, "patient", first) == hashed_key(b"s" * 32, "patient", second)
    assert same == (spell(first) == spell(second))


@pytest.mark.parametrize(("salt", "held"), [(b"0" * 9, "9 bytes"), (bytes(64), "nothing but zeros")])
def test_a_salt_that_a_power_cut_damaged_makes_no_key(folder, annotate, monkeypatch, tmp_path, salt, held):
    monkeypatch.setenv("NAPARI_CLN_CONFIG", str(tmp_path))
    (tmp_path / "patient-salt").write_bytes(salt)

    with pytest.raises(DatasetError, match=f"patient-salt is damaged: it holds {held}. Restore it"):
        folder.save(annotate(0), patient="P1")
    assert pseudonym("P1") is None


def test_another_salt_is_refused_before_one_patient_gets_two_keys(folder, annotate, monkeypatch, tmp_path):
    folder.save(annotate(0), patient="P1")
    monkeypatch.setenv("NAPARI_CLN_CONFIG", str(tmp_path / "elsewhere"))

    folder.save(annotate(0, truth="metastatic"), who="r2")  # needs no key
    with pytest.raises(DatasetError, match=r"made with another salt than yours.*patient-salt"):
        folder.save(annotate(1), patient="P1")


def test_the_same_pixels_of_two_patients_are_refused(folder, annotate):
    folder.save(annotate(0), patient="P1")

    with pytest.raises(DatasetError, match="a frame of another patient"):
        folder.save(annotate(0), patient="P2")


def test_a_patient_can_be_told_later(folder, annotate):
    assert folder.save(annotate(0)).patient.startswith("unknown-")

    assert not folder.save(annotate(0), patient="P1").patient.startswith("unknown-")


def test_a_side_and_a_clip_can_be_told_later_and_not_otherwise(folder, annotate):
    folder.save(annotate(0), patient="P1")

    case = folder.save(annotate(0), split="test", cine="c1")

    assert (case.split, case.cine) == ("test", folder.dataset.hash_key("cine", "c1"))
    with pytest.raises(DatasetError, match=r"on the side test, and is said to be on the side train\."):
        folder.save(annotate(0), split="train")
    with pytest.raises(DatasetError, match="a frame of another clip"):
        folder.save(annotate(0), cine="c2")


def test_the_pseudonym_of_a_file_counts_where_no_patient_is_known(folder, annotate):
    frame = replace(annotate(0).frame, patient_id=pseudonym("P1"))
    folder.save(annotate(0))

    assert folder.save(annotate(0, frame=frame)).patient == folder.dataset.hash_key("patient", "P1")


def test_frames_of_a_cine_without_a_patient_stay_together(folder, annotate, tmp_path):
    frames = [
        Frame(pixels=annotate(n).frame.pixels, source=tmp_path / "clip.avi", index=n, n_frames=9)
        for n in (0, 1)
    ]

    first, second = (folder.save(annotate(n, frame=frame)) for n, frame in enumerate(frames))

    assert first.cine == second.cine is not None
    assert first.patient == second.patient


@pytest.mark.parametrize(
    ("text", "maker"),
    [("Philips Medical Systems EPIQ 7", "Philips"), ("GE_LOGIQ-E9", "GE"), ("DOE^JANE", None), (None, None)],
)
def test_only_a_known_maker_is_stored(text, maker):
    assert maker_of(text) == maker


@pytest.mark.parametrize(
    "case_id", ["../../x", "a/b", "CON", "0123456789abcde.", "0123456789ABCDEF", "", "x" * 16]
)
def test_what_is_no_id_is_refused(folder, case_id):
    with pytest.raises(DatasetError, match="is not the id of a case"):
        folder.case(case_id)


def test_former_states_stay_in_order_of_their_number_whatever_the_clock_says(
    folder, annotate, necks, monkeypatch
):
    hours = iter([9, 9, 3, 3, 12, 12, 1, 1])
    monkeypatch.setattr(
        "napari_cln.folder.record.now", lambda: datetime(2026, 11, 1, next(hours), tzinfo=UTC)
    )
    for shift in range(4):
        case = folder.save(annotate(0, mask=np.roll(necks[0][1], shift)), who="r1")

    numbers = [record.revision for record in folder.revisions(case.id)]

    assert numbers == [1, 2, 3]
    assert case.revision == 4
    kept = sorted((folder.layout.revisions / case.id).glob("*.png"), key=lambda p: int(p.stem.split("-")[-1]))
    for shift, path in enumerate(kept):
        assert np.array_equal(np.array(Image.open(path)) > 0, np.roll(necks[0][1], shift))


def test_history_says_who_did_what_with_which_model_in_how_many_seconds(folder, annotate):
    model = "ynet@0123456789ab"
    folder.save(annotate(0, status="predicted", based_on=model, annotator=None), who="model")
    folder.save(annotate(0, based_on=model, seconds=12.0), who="r1")
    folder.save(annotate(0, based_on=model, seconds=3.5), who="r1")
    case = folder.save(annotate(0, status="accepted", based_on=model, seconds=1.0), who="r2")

    history = record_of(folder, case)["history"]

    told = [(entry["who"], entry["action"], entry.get("seconds"), entry.get("saves")) for entry in history]
    assert told == [
        ("model", "predicted", None, None),
        ("r1", "corrected", 15.5, 2),
        ("r2", "accepted", 1.0, None),
    ]
    assert [entry["untouched"] for entry in history] == [False, False, True]
    assert all(entry["model"] == model and entry["app"].startswith("napari-cln ") for entry in history)


def test_strokes_share_a_line_of_history_and_decisions_never(folder, annotate):
    for status in ("corrected", "corrected", "accepted", "accepted", "rejected", "rejected"):
        case = folder.save(annotate(0, status=status), who="r1")

    history = record_of(folder, case)["history"]

    told = [(entry["action"], entry.get("saves", 1)) for entry in history]
    assert told == [("corrected", 2), ("accepted", 1), ("accepted", 1), ("rejected", 1), ("rejected", 1)]


def test_the_second_of_two_readers_is_told_and_both_versions_stay(folder, annotate, necks):
    start = folder.save(annotate(0), who="r1").revision
    folder.save(annotate(0, mask=np.roll(necks[0][1], 3)), who="r1", expected_revision=start)

    with pytest.raises(ConflictError, match=r"was changed by r1 at 20\d\d-.*Your version is kept"):
        folder.save(annotate(0, mask=np.roll(necks[0][1], 8)), who="r2", expected_revision=start)

    kept = list((folder.layout.revisions / folder.ids()[0]).glob("*.png"))
    masks = {path.stem.split("Z-")[1]: np.array(Image.open(path)) > 0 for path in kept}
    assert set(masks) == {"r1-1", "r1-2", "r2-2"}
    assert np.array_equal(masks["r1-2"], np.roll(necks[0][1], 3))
    assert np.array_equal(masks["r2-2"], np.roll(necks[0][1], 8))
    assert np.array_equal(folder.read_instances(folder.cases()[0]) > 0, np.roll(necks[0][1], 3))


def test_a_record_of_a_newer_version_is_read_and_never_changed(folder, annotate):
    case = folder.save(annotate(0))
    record = record_of(folder, case) | {"schema": 2, "new": {"a": 1}}
    folder.layout.record(case.id).write_text(json.dumps(record))
    before = folder.layout.record(case.id).read_bytes()

    assert (folder.case(case.id).id, folder.record(case.id).schema) == (case.id, 2)
    with pytest.raises(DatasetError, match=r"written by a newer napari-cln \(schema 2\)"):
        folder.save(annotate(0, truth="metastatic"))
    assert folder.layout.record(case.id).read_bytes() == before


def test_a_folder_of_a_newer_version_opens_for_reading_only(study, annotate):
    description = json.loads(study.layout.dataset.read_text())
    description["x_napari_cln"]["schema"] = 2
    study.layout.dataset.write_text(json.dumps(description))

    newer = TrainingFolder.open(study.path)

    assert len(newer.cases()) == 12
    with pytest.raises(DatasetError, match="open for reading only"):
        newer.save(annotate(0))


def test_what_is_no_training_folder_says_so(tmp_path, study):
    with pytest.raises(DatasetError, match=r"no dataset\.json"):
        TrainingFolder.open(tmp_path)
    (tmp_path / "dataset.json").write_text('{"labels": {}}')
    with pytest.raises(DatasetError, match=r"nnU-Net dataset.*napari-cln import"):
        TrainingFolder.open(tmp_path)
    with pytest.raises(DatasetError, match="exists and is not empty"):
        TrainingFolder.create(study.path)


@pytest.mark.parametrize("name", ["研究 淋巴结", "🦋 study", "n" * 200])
def test_folders_may_have_any_name(tmp_path, annotate, name):
    study = TrainingFolder.create(tmp_path / name)

    case = study.save(annotate(0), patient="王芳")

    assert study.read_instances(TrainingFolder.open(tmp_path / name).case(case.id)).any()


def test_leftovers_of_a_crash_are_swept_after_an_hour(study):
    old, young = (study.layout.records / f".tmp-{name}" for name in ("old", "young"))
    for path in (old, young):
        path.write_text("x")
    os.utime(old, (time.time() - 3700,) * 2)

    TrainingFolder.open(study.path)

    assert not old.exists() and young.exists()


def test_importing_the_folder_loads_no_torch_and_no_window():
    code = (
        "import sys, napari_cln.folder.formats.exchange, napari_cln.folder.health.check;"
        "import napari_cln.folder.split.frozen;"
        "print([m for m in ('torch', 'napari', 'qtpy', 'magicgui') if m in sys.modules])"
    )

    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )


def test_the_configuration_folder_can_be_chosen(config):
    assert config_folder() == config


def test_a_patient_has_one_key_from_a_header_and_from_a_table(tmp_path):
    folder = TrainingFolder.create(tmp_path / "study")

    key_of = folder.dataset.hash_key
    assert key_of("patient", pseudonym("Doe 4711") or "") == key_of("patient", "DOE 4711 ")


def unjudged_in(folder, case) -> int:
    """Number of pixels of a frame that nobody judged."""
    unjudged = read_not_judged(folder, case)
    return 0 if unjudged is None else int(unjudged.sum())


@pytest.fixture
def partly(folder, annotate):
    """A frame of which nobody has judged nine rows."""
    not_judged = np.zeros((224, 224), bool)
    not_judged[:9] = True
    return folder.save(annotate(0, not_judged=not_judged), who="r1")


@pytest.mark.usefixtures("partly")
def test_pixels_that_nobody_judged_stay_so_through_a_state_without_a_label(folder, annotate):
    folder.save(annotate(0, status="rejected"), who="r1")
    again = folder.save(annotate(0), who="r1")

    assert unjudged_in(folder, again) == 9 * 224


@pytest.mark.usefixtures("partly")
def test_pixels_that_were_judged_at_last_stay_so(folder, annotate):
    folder.save(annotate(0, not_judged=np.zeros((224, 224), bool)), who="r1")
    again = folder.save(annotate(0, note="looked again"), who="r1")

    assert unjudged_in(folder, again) == 0


@pytest.mark.usefixtures("partly")
def test_what_repair_has_put_aside_is_no_label(folder, annotate):
    case = folder.save(annotate(1), who="r1")
    ids = annotate(1).instances
    ids[:9, :9] = 2
    save_reading(folder, annotate(1, instances=ids, nodes=()), "r2")
    (folder.layout.records / f"{case.id}.r2.json").write_bytes(b"\0" * 300)
    assert any("moved to the revisions" in done for done in repair_all(folder))

    folder.save(annotate(1, status="rejected"), who="r1")
    again = folder.save(annotate(1), who="r1")

    assert unjudged_in(folder, again) == 0
