"""Work on a frame of a training folder that is left for another one: nothing of it lands on the other."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels, Points

from napari_cln._layers import KEY, LayerKind, readings_of
from napari_cln.annotation import Annotation
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.types import Frame, Prediction
from napari_cln.widgets.common.results import Results, readings_in
from napari_cln.widgets.correct.session import Session

pytestmark = pytest.mark.usefixtures("config")


@pytest.fixture
def masks() -> np.ndarray:
    masks = np.zeros((96, 110), np.uint8)
    masks[30:60, 30:60] = 1
    return masks


@pytest.fixture
def folder(tmp_path, masks) -> TrainingFolder:
    """Three frames of one size with the same masks."""
    folder, random = TrainingFolder.create(tmp_path / "study"), np.random.default_rng(7)
    for _ in range(3):
        frame = Frame(pixels=random.integers(0, 255, masks.shape, np.uint8))
        folder.save(Annotation(frame=frame, instances=masks, status="predicted"), who="m")
    return folder


@pytest.fixture
def segment(viewer, dock, small_model):
    """The Segment dock beside the Correct dock."""
    _, segment = viewer.window.add_plugin_dock_widget("napari-cln")
    segment.view.model.choose(small_model)
    segment.view.device.setCurrentIndex(segment.view.device.findData("cpu"))
    return segment


@pytest.fixture
def turn(dock):
    """Go to a frame of the folder, before anything else happens."""

    def turn(number: int) -> None:
        dock.session.turn_to(dock.session.work.ids[number])
        dock.session.turns.finish()

    return turn


@pytest.fixture
def finish(qtbot):
    """Wait for the end of a run, of a map, and of what is measured."""

    def finish(segment) -> None:
        qtbot.waitUntil(lambda: not segment.session.is_running, timeout=60_000)
        qtbot.waitUntil(lambda: not segment.session.state.is_explaining, timeout=60_000)
        qtbot.waitUntil(lambda: not segment.measuring.is_busy, timeout=60_000)

    return finish


@pytest.fixture
def session(keep, qtbot, folder) -> Session:
    """A reader at the first frame of the folder, without a window."""
    session = keep(Session(ViewerModel()))
    session.take_reader("r1")
    with qtbot.waitSignal(session.work.found, timeout=30_000):
        session.enter(folder)
    session.open_case(session.work.ids[0])
    yield session
    session.flush()
    session.filing.saver.close()


def masks_of(viewer) -> Labels:
    (labels,) = (layer for layer in viewer.layers if isinstance(layer, Labels))
    return labels


@pytest.mark.parametrize("then", [(1,), (1, 0)])
def test_a_run_ends_with_the_frame_that_it_began_on(viewer, dock, segment, turn, finish, then):
    segment.segment_frame()
    for number in then:
        turn(number)
    before = masks_of(viewer).data.copy()
    finish(segment)

    assert readings_of(masks_of(viewer)) == {}
    assert np.array_equal(masks_of(viewer).data, before)
    assert not [layer for layer in viewer.layers if isinstance(layer, Points)]
    assert segment.message.text() == "Stopped after 0 frames: another frame is in view."


def test_what_was_said_of_a_frame_goes_with_it(dock, segment, turn, finish):
    segment.segment_frame()
    finish(segment)
    assert segment.message.text().startswith("Segmented 1 frame in ")

    turn(1)

    assert segment.message.text() == ""


def test_a_map_of_where_a_score_comes_from_is_laid_over_its_own_frame_alone(
    viewer, dock, segment, turn, finish
):
    segment.session.explain_frame()
    turn(1)
    finish(segment)

    assert not [layer for layer in viewer.layers if layer.metadata.get(KEY) == LayerKind.SCORE_MAP]
    assert segment.message.text() == "There is no map: another frame is in view."


def test_figures_of_a_frame_are_not_those_of_another_with_the_same_masks(dock, segment, turn, finish):
    segment.measure_radiomics()
    finish(segment)
    assert segment.measuring.found(segment.session.image, 0) is not None

    turn(1)
    assert segment.measuring.found(segment.session.image, 0) is None

    segment.measure_radiomics()
    turn(2)
    finish(segment)
    assert segment.measuring.found(segment.session.image, 0) is None
    assert segment.message.text() == "Nothing is measured: another frame is in view."


@pytest.mark.parametrize("masks", [np.zeros((96, 110), np.uint8)], ids=["empty"])
def test_the_masks_of_the_next_frame_are_not_faded(viewer, dock, segment, turn, finish):
    segment.segment_frame()
    finish(segment)
    opacity = masks_of(viewer).opacity

    segment.segment_frame()
    assert masks_of(viewer).opacity < opacity
    turn(1)

    assert masks_of(viewer).opacity == opacity
    finish(segment)


def test_a_view_without_speckle_is_laid_over_its_own_frame_alone(viewer, dock, turn, qtbot):
    _, frames = viewer.window.add_plugin_dock_widget("napari-cln", "Frames")
    said = []
    frames.session.network.told.connect(lambda sentence, _mood: said.append(sentence))
    frames.session.network.show_image(dock.session.navigator.image)
    frames.session.network.show_despeckled()
    turn(1)
    qtbot.waitUntil(lambda: len(said) > 1, timeout=60_000)

    assert [layer for layer in viewer.layers if isinstance(layer, Image)] == [dock.session.navigator.image]
    assert said[-1] == "There is no view without speckle: another frame is in view."


# ------------------------------------------------------------ between two turns of the event loop


def begin_run(session) -> Results:
    """Begin a run over the frame in view."""
    results = Results(session.viewer, session.navigator.image, (0,), {})
    results.begin()
    return results


def end_run(results: Results, frame: Frame) -> None:
    """End it with a node, where it has a place."""
    masks = np.zeros(frame.shape, np.uint8)
    masks[60:80, 60:90] = 1
    if not results.fault:
        results.put(
            Prediction(
                frame=frame,
                probability=masks.astype(np.float32),
                instances=masks,
                node_scores=(0.62,),
                class_probabilities={"benign": 0.38, "malignant": 0.62},
                model_id="ynet@123456789abc",
            )
        )


@pytest.mark.parametrize("masks", [np.zeros((96, 110), np.uint8)], ids=["empty"])
def test_a_mask_that_was_put_aside_takes_no_result_before_the_next_frame_is_there(session, folder):
    first, second, _ = session.work.ids
    run, frame = begin_run(session), session.mask.frame
    session.decisions.no_node()
    session.flush()

    session.turn_to(second)
    end_run(run, frame)
    session.open_case(first)
    session.flush()

    assert session.mask.node_ids == []
    assert (folder.case(first).status, folder.case(first).revision) == ("no-node", 2)


def test_a_result_is_not_the_next_frames_though_that_one_is_not_there_yet(session, folder):
    _, second, _ = session.work.ids
    run, frame = begin_run(session), session.mask.frame

    session.turn_to(second)
    assert run.fault == "another frame is in view"
    end_run(run, frame)
    session.turns.finish()

    assert readings_in(session.viewer, session.navigator.image) == {}
    assert session.mask.labels is masks_of(session.viewer)
    assert np.array_equal(session.mask.masks, folder.read_instances(folder.case(second)))


def test_masks_that_are_put_aside_change_with_nothing_on_the_canvas(session):
    first, second, _ = session.work.ids
    session.decisions.no_node()
    labels = session.mask.labels

    session.turn_to(second)
    labels.data[:] = 1  # in place, as a script may
    session.open_case(first)

    assert session.mask.is_empty


@pytest.mark.parametrize("masks", [np.zeros((96, 110), np.uint8)], ids=["empty"])
def test_what_a_run_hid_is_as_it_was_when_its_frame_is_left(session):
    run = begin_run(session)
    end_run(run, session.mask.frame)
    run.flush()
    labels, (texts,) = session.mask.labels, [one for one in session.viewer.layers if isinstance(one, Points)]
    opacity = labels.opacity
    begin_run(session)
    assert (labels.opacity < opacity, texts.visible) == (True, False)

    session.turn_to(session.work.ids[1])

    assert (labels.opacity, texts.visible) == (opacity, True)


# ------------------------------------------------------------ what waits for a name, or a folder


def test_what_a_reader_without_a_name_said_of_many_frames_is_saved_in_theirs(tmp_path, session, masks):
    random, n = np.random.default_rng(8), 24
    folder = TrainingFolder.create(tmp_path / "many")
    for _ in range(n):
        frame = Frame(pixels=random.integers(0, 255, masks.shape, np.uint8))
        folder.save(Annotation(frame=frame, instances=masks, status="predicted"), who="m")
    session.take_reader("")
    session.enter(folder)
    for case_id in folder.ids():
        session.open_case(case_id)
        session.notes.take_patient("Doe, Jane")
    gc.collect()

    session.take_reader("r1")
    session.flush()

    jane = folder.dataset.hash_key("patient", "doe, jane")
    assert {folder.record(case_id).patient_key for case_id in folder.ids()} == {jane}


def test_what_waits_for_a_folder_is_saved_though_another_image_was_closed(keep, folder):
    session = keep(Session(ViewerModel()))
    session.take_reader("r1")
    for noise in np.random.default_rng(9).integers(0, 255, (2, 96, 110), np.uint8):
        image = session.viewer.add_image(noise)
        session.navigator.show_image(image)
        session.mask.labels.data_setitem((np.array([5]), np.array([5])), 1)
        session.look()
    session.viewer.layers.remove(session.mask.labels)
    session.viewer.layers.remove(image)
    session.refresh()
    del image
    gc.collect()

    session.enter(folder)
    session.flush()
    session.filing.saver.close()

    assert sorted(case.status for case in folder.cases()) == ["corrected", *["predicted"] * 3]
