"""Two training folders with the same pictures, one after the other: none shows or takes what is not its."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Image, Labels
from qtpy.QtTest import QTest

from napari_cln.annotation import Annotation, Node
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.folder.readers import read_annotation
from napari_cln.types import Frame
from napari_cln.widgets.correct.cases import read_ahead

pytestmark = pytest.mark.usefixtures("config")
SHAPE = (96, 110)


def box(top: int, left: int) -> np.ndarray:
    """A node of 30 by 30 pixels."""
    masks = np.zeros(SHAPE, np.uint8)
    masks[top : top + 30, left : left + 30] = 1
    return masks


def fill(folder: TrainingFolder, masks: np.ndarray, truth: str, n_frames: int) -> None:
    """The same frames whatever the folder, with one reader's masks; those of the first are the same too."""
    for k, pixels in enumerate(np.random.default_rng(1).integers(0, 255, (n_frames, *SHAPE), np.uint8)):
        instances = masks if k else box(10, 60)
        node = Node(id=1, status="accepted", truth=truth)
        frame = Frame(pixels=pixels, scan_area=(0, 0, *SHAPE))
        folder.save(
            Annotation(frame=frame, instances=instances, nodes=(node,), status="accepted"),
            patient=f"P{k}",
            who="r0",
        )


@pytest.fixture
def folder(tmp_path) -> TrainingFolder:
    """The folder that is opened first, with one frame more."""
    folder = TrainingFolder.create(tmp_path / "first")
    fill(folder, box(10, 10), "metastatic", 4)
    return folder


@pytest.fixture
def other(tmp_path) -> TrainingFolder:
    """The folder that is opened after it."""
    folder = TrainingFolder.create(tmp_path / "second")
    fill(folder, box(50, 60), "benign", 3)
    return folder


@pytest.fixture
def shared(other) -> list[str]:
    """Frames that both folders have, with other masks in each."""
    (like,) = [case.id for case in other.cases() if np.array_equal(other.read_instances(case), box(10, 60))]
    return [case_id for case_id in other.ids() if case_id != like]


@pytest.fixture
def enter(dock, qtbot):
    """Open a folder in the dock, and wait for its first frame."""

    def enter(folder: TrainingFolder) -> None:
        dock.view.study.open_folder(folder.path)
        qtbot.waitUntil(lambda: bool(dock.session.work.items), timeout=30_000)
        qtbot.waitUntil(lambda: dock.session.mask is not None, timeout=30_000)

    return enter


def state(folder: TrainingFolder) -> dict[str, tuple[int, str, bytes]]:
    """What a folder holds, to compare."""
    return {
        case.id: (case.revision, case.patient, folder.read_instances(case).tobytes())
        for case in folder.cases()
    }


def test_another_folder_opens_with_its_own_frame_and_mask_and_takes_no_second_one(viewer, dock, other, enter):
    enter(other)

    mask = dock.session.mask
    assert np.array_equal(mask.masks, other.read_instances(other.case(mask.case_id)))
    assert "revision 1 in the folder" in dock.view.state.text()
    assert len([layer for layer in viewer.layers if isinstance(layer, Image)]) == 1
    patients = {case.id: case.patient for case in other.cases()}
    dock.session.decisions.accept()
    dock.session.flush()
    assert {case.id: case.patient for case in other.cases()} == patients


def test_an_empty_folder_opens_at_no_frame_of_the_former_one(viewer, dock, folder, tmp_path):
    before = state(folder)

    dock.view.study.create_folder(tmp_path / "empty")
    QTest.qWait(50)
    dock.session.decisions.accept()
    dock.session.flush()

    assert not [layer for layer in viewer.layers if isinstance(layer, Image | Labels)]
    assert dock.view.study.folder.ids() == []
    assert state(folder) == before


def test_what_was_read_ahead_in_one_folder_is_not_shown_in_the_other(dock, folder, other, shared, enter):
    before, late = state(folder), read_ahead(folder, folder.ids())
    enter(other)
    dock.session.navigator.cases.take_ahead(late)

    for case_id in shared:
        dock.session.open_case(case_id)
        assert np.array_equal(dock.session.mask.masks, box(50, 60))
    dock.session.mask.labels.data_setitem((np.array([5]), np.array([5])), 1)
    dock.session.flush()

    saved = other.case(shared[-1])
    assert (saved.revision, saved.status, len(other.ids())) == (2, "corrected", 3)
    assert np.count_nonzero(other.read_instances(saved) != box(50, 60)) == 1
    assert state(folder) == before


def test_a_stroke_before_the_other_folder_is_opened_is_the_former_ones_and_undone_there(
    dock, folder, other, shared, enter
):
    dock.session.open_case(shared[0])
    before = state(other)
    dock.session.mask.labels.paint((80, 20), 2)

    enter(other)
    dock.session.open_case(shared[0])
    dock.session.flush()
    assert state(other) == before
    assert folder.read_instances(folder.case(shared[0]))[80, 20] == 2

    enter(folder)
    dock.session.open_case(shared[0])
    assert dock.session.mask.masks[80, 20] == 2
    dock.session.mask.labels.undo()
    dock.session.flush()
    case = folder.case(shared[0])
    assert (case.status, case.truth) == ("accepted", "metastatic")
    assert np.array_equal(folder.read_instances(case), box(10, 10))
    assert state(other) == before


def test_strokes_without_a_name_wait_for_the_folder_that_they_were_made_in(
    dock, folder, other, shared, enter
):
    before = state(other)
    dock.session.open_case(shared[0])
    dock.session.take_reader("")
    dock.session.mask.labels.paint((80, 20), 2)
    enter(other)

    dock.session.take_reader("r1")
    dock.session.flush()
    assert state(other) == before
    assert folder.case(shared[0]).revision == 1

    enter(folder)
    dock.session.flush()
    assert folder.read_instances(folder.case(shared[0]))[80, 20] == 2


def test_a_save_that_ends_late_is_listed_in_its_own_folder_alone(dock, folder, other, enter):
    (alone,) = set(folder.ids()) - set(other.ids())
    dock.session.open_case(alone)
    dock.session.mask.labels.paint((80, 20), 2)

    enter(other)
    dock.session.flush()
    QTest.qWait(50)

    assert folder.case(alone).revision == 2
    assert dock.session.work.ids == other.ids()


def test_strokes_that_a_crash_left_in_one_folder_are_offered_after_a_save_in_the_other(
    dock, folder, other, shared, enter
):
    frame = read_annotation(other, other.case(shared[0])).frame
    left = Annotation(frame=frame, instances=box(60, 10), nodes=(Node(id=1),))
    other.autosave.keep(left, shared[0], who="r1")
    dock.session.open_case(shared[0])
    dock.session.mask.labels.paint((80, 20), 2)

    enter(other)
    dock.session.flush()
    QTest.qWait(50)
    dock.session.open_case(shared[0])

    assert "Strokes of r1" in dock.view.recovery.text.text()


def test_what_is_known_of_a_node_in_one_folder_is_not_told_of_the_same_mask_in_the_other(
    dock, folder, other, shared, enter
):
    (like,) = set(other.ids()) - set(shared)
    for one, truth in ((folder, "metastatic"), (other, "benign"), (folder, "metastatic")):
        enter(one)
        dock.session.open_case(like)
        assert [node.truth for node in dock.view.nodes.nodes.values()] == [truth]


def test_a_picture_of_another_training_folder_is_refused_and_not_stored_twice(
    viewer, dock, folder, other, shared, open_image
):
    image = open_image(viewer, next(other.path.rglob(f"{shared[0]}_0000.png")))
    before, layers = state(folder), [*viewer.layers]

    dock.session.navigator.show_image(image)
    (labels,) = [layer for layer in viewer.layers if layer not in layers]
    labels.paint((20, 20), 1)
    dock.session.decisions.accept()
    dock.session.flush()

    assert "A frame of the training folder second, to look at" in dock.view.state.text()
    assert state(folder) == before
