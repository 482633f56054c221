"""Masks of a cine that are made from those of other frames: predicted, and undone in one step."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels
from qtpy.QtTest import QTest

from napari_cln._layers import SCAN_AREA_KEY, annotation_from_layer, frame_from_layer
from napari_cln.annotation import Annotation, Node
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.widgets.correct.session import Session
from napari_cln.widgets.correct.tools import Workbench

SHAPE = (90, 110)
N = 6
GRAINS = np.random.default_rng(0).integers(20, 220, (50, 60), dtype=np.uint8)
TEXTURE = np.kron(GRAINS, np.ones((4, 4), np.uint8))


def node(k: int) -> np.ndarray:
    """The mask that goes with the picture of frame k."""
    masks = np.zeros(SHAPE, np.uint8)
    masks[20 + 4 * k : 44 + 4 * k, 20 + 4 * k : 50 + 4 * k] = 1
    return masks


def dice(one, other) -> float:
    one, other = one > 0, other > 0
    return float(2 * (one & other).sum() / max(one.sum() + other.sum(), 1))


@pytest.fixture
def folder(tmp_path) -> TrainingFolder:
    return TrainingFolder.create(tmp_path / "study")


@pytest.fixture
def bench(qapp, folder) -> Workbench:
    """A reader before the first frame of a cine whose picture moves, with a node that was painted there."""
    viewer = ViewerModel()
    pixels = np.stack([TEXTURE[60 - 4 * k : 150 - 4 * k, 60 - 4 * k : 170 - 4 * k] for k in range(N)])
    image = viewer.add_layer(Image(pixels, name="cine", metadata={SCAN_AREA_KEY: (0, 0, *SHAPE)}))
    session = Session(viewer)
    session.filing.take_reader("r1")
    session.filing.enter(folder)
    session.navigator.show_frame(image, 0)
    bench = Workbench(session)
    paint(bench, 0)
    yield bench
    session.flush()
    session.filing.saver.close()


@pytest.fixture
def use(qtbot, bench):
    """Use a tool for cines, and wait until it has ended."""

    def use(name: str) -> list[str]:
        told: list[str] = []
        bench._session.told.connect(lambda words, *_: told.append(words))
        bench.use(name)
        qtbot.waitUntil(lambda: bench.clip._work is None, timeout=60_000)
        return told

    return use


def labels_of(bench) -> Labels:
    return bench._session.mask.labels


def go(bench, k: int):
    bench._session.navigator.show_frame(bench._session.navigator.image, k)
    return bench._session.mask


def paint(bench, k: int, masks: np.ndarray | None = None) -> None:
    """Paint a frame, by default the node where it is there."""
    where = np.nonzero(node(k) if masks is None else masks)
    go(bench, k).labels.data_setitem((np.full_like(where[0], k), *where), 1)
    bench._session.look(seconds=60)


def undo(bench) -> None:
    bench._session.steps.undo(labels_of(bench))


def redo(bench) -> None:
    bench._session.steps.redo(labels_of(bench))


def test_a_mask_goes_with_the_picture_to_the_end_as_a_prediction(bench, use):
    use("carry")

    for k in range(1, N):
        mask = go(bench, k)
        assert dice(mask.masks, node(k)) > 0.95
        assert mask.status == "predicted"
        assert mask.given.based_on == "carried from frame 0"
        known = annotation_from_layer(labels_of(bench), mask.frame, index=k)  # as a saved layer has it
        assert (known.status, known.based_on) == ("predicted", "carried from frame 0")


def test_all_of_it_is_one_step_of_undo_and_redo_and_nothing_is_saved_by_it(bench, use, folder):
    go(bench, 2)  # one that was looked at before
    go(bench, 0)
    steps = len(labels_of(bench)._undo_history)
    use("carry")
    carried = labels_of(bench).data.copy()
    assert len(labels_of(bench)._undo_history) == steps + 1

    undo(bench)
    assert not labels_of(bench).data[1:].any()
    assert labels_of(bench).data[0].any()
    redo(bench)
    assert np.array_equal(labels_of(bench).data, carried)
    assert go(bench, 2).status == "predicted"
    bench._session.flush()
    assert len(folder.ids()) == 1


def test_undo_takes_it_back_before_an_older_decision(bench, use):
    bench._session.decisions.accept()
    use("carry")

    undo(bench)
    assert not labels_of(bench).data[1:].any()
    assert bench._session.mask.ledger.last_said(bench._session.mask.seen) is not None
    redo(bench)
    undo(bench)
    undo(bench)
    assert bench._session.mask.ledger.last_said(bench._session.mask.seen) is None


def test_what_is_accepted_says_where_it_comes_from(bench, use, folder):
    use("carry")
    go(bench, 3)
    bench._session.decisions.accept()
    bench._session.flush()

    case = next(case for case in folder.cases() if folder.record(case.id).source.frame == 3)
    last = folder.record(case.id).last
    assert (case.status, last.action, last.model, last.untouched) == (
        "accepted",
        "accepted",
        "carried from frame 0",
        True,
    )


def test_a_frame_that_a_reader_decided_on_is_not_touched_and_ends_it(bench, use):
    go(bench, 3)
    bench._session.decisions.no_node()
    go(bench, 0)

    told = use("carry")

    assert [bool(masks.any()) for masks in labels_of(bench).data] == [True, True, True, False, False, False]
    assert any("Frame 4 is decided already" in words for words in told)


def test_a_frame_that_is_decided_in_the_folder_is_not_touched(bench, use, folder):
    frame = frame_from_layer(bench._session.navigator.image, 2)
    folder.save(Annotation(frame=frame, instances=np.zeros(SHAPE, np.uint8), status="no-node"), who="r2")

    told = use("carry")

    assert [bool(masks.any()) for masks in labels_of(bench).data] == [True, True, False, False, False, False]
    assert any("Frame 3 is decided already" in words for words in told)


def test_it_can_be_done_again_from_a_frame_that_was_corrected_since(bench, use):
    use("carry")
    paint(bench, 2, np.pad(np.ones((6, 6), np.uint8), ((10, 74), (10, 94))))

    use("carry")

    assert go(bench, 4).given.based_on == "carried from frame 2"
    assert go(bench, 1).given.based_on == "carried from frame 0"


def test_what_is_known_of_a_node_goes_with_it(bench, use):
    bench._session.notes.take_facts({1: Node(id=1, truth="benign")})

    use("carry")

    assert go(bench, 1).given.facts[1].truth == "benign"


def test_a_prediction_is_not_carried(bench, use):
    use("carry")
    go(bench, 2)

    assert any("Correct or accept this mask first" in words for words in use("carry"))


def test_between_two_corrected_frames_masks_are_made_and_undone_as_one(bench, use):
    paint(bench, 4)
    go(bench, 2)

    use("interpolate")

    for k in (1, 2, 3):
        mask = go(bench, k)
        assert dice(mask.masks, node(k)) > 0.95
        assert mask.given.based_on == "interpolated between frames 0 and 4"
        assert mask.status == "predicted"
    undo(bench)
    assert not labels_of(bench).data[1:4].any()
    assert labels_of(bench).data[4].any()


def test_a_decided_frame_between_two_others_stays(bench, use):
    go(bench, 2)
    bench._session.decisions.no_node()
    paint(bench, 4)

    use("interpolate")

    assert [bool(masks.any()) for masks in labels_of(bench).data] == [True, True, False, True, True, False]


def test_without_two_corrected_frames_it_says_so(bench, use):
    assert any("no two corrected frames" in words for words in use("interpolate"))


def test_a_carry_that_is_stopped_keeps_what_was_made(bench, qtbot):
    bench.use("carry")
    qtbot.waitUntil(lambda: bool(bench.clip._made), timeout=60_000)
    bench.use("carry")
    qtbot.waitUntil(lambda: bench.clip._work is None, timeout=60_000)
    QTest.qWait(10)

    assert labels_of(bench).data[1].any()
