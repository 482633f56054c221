"""Bits that flip and blocks that turn to zeros: each is named, and set right where anything knows how."""

import random

import numpy as np
import pytest

from napari_cln.annotation import Annotation, Node
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.folder.health.check import check_study
from napari_cln.folder.health.repair import repair_all
from napari_cln.folder.pictures import encode_png, flip_png_back, is_whole_png
from napari_cln.folder.readers import save_reading
from napari_cln.folder.screens import confirm_screens, unseen_screens
from napari_cln.folder.split.frozen import frozen_split
from napari_cln.types import Frame


@pytest.fixture
def small(tmp_path, necks):
    """Four small frames of four patients: two nodes, former states, a reading and a former one, folds."""
    folder = TrainingFolder.create(tmp_path / "small")
    for n in range(4):
        frame = Frame(pixels=necks[n][0][60:124, 60:140].copy(), scan_area=(0, 0, 64, 80))
        instances = np.zeros((64, 80), np.uint8)
        instances[5:20, 5 : 30 + n], instances[40:60, 40:70] = 1, 2
        truth = "metastatic" if n % 2 else "benign"
        nodes = (Node(id=1, truth=truth), Node(id=2, status="rejected", truth=truth))
        for shift in range(2):
            painted = np.roll(instances, shift)
            annotation = Annotation(frame=frame, instances=painted, nodes=nodes, annotator="r1")
            folder.save(annotation, patient=f"P{n}", who="r1")
            if n == 0:
                save_reading(folder, annotation, "r2")
    frozen_split(folder, 2)
    confirm_screens(folder, unseen_screens(folder), "r1")
    return folder


def files(folder):
    """Every file that is kept, as bytes."""
    paths = [
        path
        for path in folder.path.rglob("*")
        if path.is_file() and folder.layout.private not in path.parents
    ]
    return {path: path.read_bytes() for path in sorted(paths) if not path.name.startswith(".git")}


def mended(folder):
    for _ in repair_all(folder):
        pass
    return check_study(folder).faults


def test_each_kind_of_file_is_there(small):
    endings = {path.name[16:].lstrip("_") for path in files(small)}

    assert {".json", ".png", ".nodes.png", "0000.png", ".r2.json", ".r2.png"} <= endings
    assert sum(path.name.endswith(".reading") for path in files(small)) == 2
    assert check_study(small).faults == ()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_each_flipped_bit_is_named_and_set_right(small, seed):
    rng, was = random.Random(seed), files(small)
    for path in was:
        text = bytearray(was[path])
        text[rng.randrange(len(text))] ^= 1 << rng.randrange(8)
        path.write_bytes(text)

        faults = check_study(small).faults
        assert any(path.name in fault.message for fault in faults), (path, [str(fault) for fault in faults])
        assert mended(small) == ()
        assert path.read_bytes() == was[path]
    assert files(small) == was


def test_every_single_bit_of_a_picture_is_found(necks):
    data = encode_png((necks[0][0][:20, :24] > 100).astype(np.uint8))
    assert is_whole_png(data) and flip_png_back(data) is None
    for i in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[i] ^= 1 << bit
            assert not is_whole_png(bytes(flipped))
            assert flip_png_back(bytes(flipped)) == data


@pytest.mark.parametrize("damage", [b"", bytes(50), bytes(5000), b"\x89PNG\r\n\x1a\n" + bytes(400)])
def test_a_picture_of_more_damage_is_not_guessed_at(damage):
    assert not is_whole_png(damage) and flip_png_back(damage) is None


def zeros(path):
    path.write_bytes(bytes(path.stat().st_size))


def test_zeros_in_a_mask_are_named_and_the_mask_comes_back_where_it_is_kept(small):
    """The mask of the second save is nowhere else; that of the first is among the revisions."""
    case = small.cases()[0]
    before = small.read_instances(case)
    again = small.save(
        Annotation(
            frame=Frame(pixels=small.read_image(case), source=case.image), instances=before, nodes=case.nodes
        ),
        who="r1",
    )
    zeros(again.mask)

    (fault,) = check_study(small).faults
    assert f"{again.mask.name} holds nothing but zeros" in fault.message
    assert mended(small) == ()

    assert np.array_equal(small.read_instances(small.case(case.id)), before)


def test_zeros_in_the_ids_come_back_from_the_revisions_too(small):
    case = small.cases()[0]
    before = small.read_instances(case)
    small.save(
        Annotation(
            frame=Frame(pixels=small.read_image(case), source=case.image), instances=before, nodes=case.nodes
        ),
        who="r1",
    )
    zeros(small.layout.instances(case.id))

    assert mended(small) == ()

    assert np.array_equal(small.read_instances(small.case(case.id)), before)


def test_a_label_of_zeros_follows_from_the_ids(small):
    case = small.cases()[0]
    before = case.mask.read_bytes()
    zeros(case.mask)

    assert mended(small) == ()

    assert case.mask.read_bytes() == before


def test_zeros_in_an_image_are_named_and_the_other_frames_go_on(small):
    case = small.cases()[0]
    zeros(case.image)

    (fault,) = mended(small)

    assert (fault.kind, fault.severity) == ("image", "error")
    assert f"{case.image.name} holds nothing but zeros" in fault.message and "backup" in fault.advice
    assert all(small.read_image(other).any() for other in small.cases()[1:])


def test_zeros_in_a_record_go_back_to_the_state_before_and_keep_the_masks_of_now(small):
    case = small.cases()[0]
    mask = case.mask.read_bytes()
    zeros(small.layout.record(case.id))

    assert mended(small) == ()

    assert small.case(case.id).revision == 2
    kept = (small.layout.revisions / case.id).glob("*-repair-*.labelsTr.*")
    assert [path.read_bytes() for path in kept] == [mask]


def test_a_reading_whose_save_was_cut_short_goes_back_to_the_one_before(small):
    (path,) = small.layout.records.glob("*.r2.json")
    former = min((small.layout.revisions / path.name[:16]).glob("*.json.reading")).read_bytes()
    path.with_suffix(".png").write_bytes(encode_png(np.ones((64, 80), np.uint8)))

    (fault,) = check_study(small).faults
    assert (fault.kind, path.stem in fault.message) == ("reading", True)
    assert mended(small) == ()

    assert path.read_bytes() == former


def test_a_reading_that_is_nowhere_whole_is_put_aside_and_said(small):
    (path,) = small.layout.records.glob("*.r2.json")
    for former in (small.layout.revisions / path.name[:16]).glob("*.reading"):
        former.unlink()
    zeros(path.with_suffix(".png"))

    said = list(repair_all(small))

    assert any("can't be restored and was moved to the revisions. Ask r2" in sentence for sentence in said)
    assert check_study(small).faults == ()
    assert not path.exists()


def test_a_frame_without_a_record_moves_with_its_readings(small):
    (path,) = small.layout.records.glob("*.r2.json")
    small.layout.record(path.name[:16]).unlink()

    assert not [fault for fault in mended(small) if fault.severity == "error"]
    assert not list(small.layout.records.glob(f"{path.name[:16]}*"))
