"""A list of files without a window: the session of the Frames dock alone."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels, Points, Shapes
from qtpy.QtCore import QThreadPool
from shipped import FRAME, REAL

from napari_cln._layers import PATIENT_KEY, LayerKind, frame_from_layer
from napari_cln.widgets.frames.session import FramesSession
from napari_cln.widgets.prompts.scale import set_scale
from napari_cln.widgets.segment.session import SegmentSession


@pytest.fixture
def session(keep, qtbot, tmp_path) -> FramesSession:
    shutil.copy(REAL, tmp_path / "a.png")
    shutil.copy(FRAME, tmp_path / "b.dcm")
    session = keep(FramesSession(ViewerModel()))
    session.add(tmp_path)
    qtbot.waitUntil(lambda: session.search is None, timeout=20_000)
    return session


@pytest.fixture
def segment(keep, qtbot, session, small_model):
    """Segment the file in view, and do something else before the run has ended."""
    segmenting = keep(SegmentSession(session.viewer))
    segmenting.choose_model(small_model)
    segmenting.device = "cpu"

    def segment(*deeds) -> None:
        segmenting.choose_image(session.network.image)
        segmenting.segment_frame()
        for deed in deeds:
            deed()
        qtbot.waitUntil(lambda: not segmenting.is_running, timeout=60_000)

    segment.session = segmenting
    return segment


def test_the_first_file_is_shown_and_the_next_by_a_step(session):
    first = session.state
    session.step(1)

    assert (first.number, first.n_files, first.has_image) == (0, 2, True)
    assert session.state.number == 1
    assert [layer.name for layer in session.viewer.layers] == ["b"]


def test_beyond_the_last_file_it_says_so_and_stays(session):
    told: list[str] = []
    session.told.connect(lambda sentence, _mood: told.append(sentence))

    session.step(1)
    session.step(1)

    assert told[-1] == "This is the last frame."
    assert session.state.number == 1


def test_marks_are_on_the_canvas_as_the_state_says(session):
    session.network.show_marks(LayerKind.SCAN_AREA, True)
    shown = [layer for layer in session.viewer.layers if isinstance(layer, Shapes)]
    session.network.show_marks(LayerKind.SCAN_AREA, False)

    assert len(shown) == 1
    assert shown[0] not in session.viewer.layers
    assert not session.state.network.shows_area


def looks(viewer) -> list[tuple[str, float, bool]]:
    """How masks and words are seen."""
    shown = [layer for layer in viewer.layers if isinstance(layer, Labels | Points)]
    return [(layer.name, layer.opacity, layer.visible) for layer in shown]


def wait_for_worker() -> None:
    """Let all work beside the window end before the window hears of any."""
    QThreadPool.globalInstance().waitForDone(60_000)


@pytest.mark.parametrize("wait", [lambda: None, wait_for_worker], ids=["in-the-midst", "at-its-end"])
def test_a_file_that_was_left_during_a_run_looks_as_before(session, segment, wait):
    segment()
    before = looks(session.viewer)
    assert [visible for _, _, visible in before] == [True, True]

    segment(wait, lambda: session.step(1))
    session.step(-1)

    assert looks(session.viewer) == before


def test_a_file_that_was_left_during_a_run_that_fails_looks_as_before(session, segment):
    segment()
    before = looks(session.viewer)
    segment.session.device = "cuda"

    segment(lambda: session.step(1))
    session.step(-1)

    assert looks(session.viewer) == before


def test_a_run_that_is_cancelled_shows_its_words_over_no_other_image(session, segment, open_image):
    segment()
    words, image = looks(session.viewer)[1], session.network.image
    other = open_image(session.viewer, FRAME)

    segment(lambda: segment.session.choose_image(other), segment.session.cancel)
    assert not next(visible for name, _, visible in looks(session.viewer) if name == words[0])

    segment.session.choose_image(image)
    assert words in looks(session.viewer)


# ------------------------------------------------------------ what the user has said of a file


def draw_area(session) -> None:
    session.network.draw_area()
    (shapes,) = (layer for layer in session.viewer.layers if isinstance(layer, Shapes))
    shapes.data = [np.array([[10, 10], [10, 120], [100, 120], [100, 10]])]
    session.network.use_area()


def test_what_the_user_said_of_a_file_holds_when_it_is_shown_again(session):
    draw_area(session)
    set_scale(session.viewer, session.network.image, 0.08)
    session.network.image.metadata[PATIENT_KEY] = "Doe, Jane"

    session.step(1)
    other = frame_from_layer(session.network.image)
    session.step(-1)

    frame = frame_from_layer(session.network.image)
    assert frame.scan_area == (10, 10, 100, 120)
    assert (frame.spacing_mm, frame.spacing_source) == ((0.08, 0.08), "typed")
    assert session.network.image.metadata[PATIENT_KEY] == "Doe, Jane"
    assert other.scan_area != frame.scan_area
    assert other.spacing_source != "typed"


def test_a_scan_area_that_the_user_took_back_is_found_anew_when_the_file_is_shown_again(session):
    draw_area(session)
    session.step(1)
    session.step(-1)
    session.network.find_area()

    session.step(1)
    session.step(-1)

    assert frame_from_layer(session.network.image).scan_area is None


def test_a_scale_that_the_file_says_stands_above_one_that_was_said_of_it(session):
    session.step(1)
    said = frame_from_layer(session.network.image).spacing_mm
    session.network.image.scale = (9.0, 9.0)

    session.step(-1)
    session.step(1)

    assert tuple(session.network.image.scale) == pytest.approx(said)
