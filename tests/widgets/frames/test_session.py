"""A list of files without a window: the session of the Frames dock alone."""

from __future__ import annotations

import shutil

import pytest
from napari.components import ViewerModel
from napari.layers import Shapes
from shipped import FRAME, REAL

from napari_cln._layers import LayerKind
from napari_cln.widgets.frames.session import FramesSession


@pytest.fixture
def session(keep, qtbot, tmp_path) -> FramesSession:
    shutil.copy(REAL, tmp_path / "a.png")
    shutil.copy(FRAME, tmp_path / "b.dcm")
    session = keep(FramesSession(ViewerModel()))
    session.add(tmp_path)
    qtbot.waitUntil(lambda: session.search is None, timeout=20_000)
    return session


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
