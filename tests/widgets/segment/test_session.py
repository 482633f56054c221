"""Segmenting without a window: the session alone, with a small real network."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels
from shipped import FRAME

import napari_cln
from napari_cln.widgets.segment.session import SegmentSession


@pytest.fixture
def session(keep, small_model) -> SegmentSession:
    session = keep(SegmentSession(ViewerModel()))
    session.choose_model(small_model)
    session.device = "cpu"
    return session


def said(session: SegmentSession) -> list[str]:
    words: list[str] = []
    session.told.connect(lambda sentence, _mood, _about: words.append(sentence))
    return words


def test_a_frame_gets_its_masks_and_its_state(session, open_image, qtbot, small_model):
    session.choose_image(open_image(session.viewer, FRAME))

    session.segment_frame()
    assert session.state.is_running
    qtbot.waitUntil(lambda: not session.is_running, timeout=60_000)

    expected = napari_cln.segment(FRAME, small_model, "cpu")
    (labels,) = (layer for layer in session.viewer.layers if isinstance(layer, Labels))
    assert np.array_equal(labels.data, expected.instances)
    assert session.state.readings[0].malignancy == pytest.approx(expected.malignancy, abs=1e-6)


def test_without_an_image_it_says_what_to_do(session):
    words = said(session)

    session.segment_all()

    assert words == ["Open an ultrasound image first: File > Open, or drop it on the canvas."]


def test_without_a_model_it_says_what_to_do(session, open_image):
    session.choose_image(open_image(session.viewer, FRAME))
    session.choose_model(None)
    words = said(session)

    session.segment_frame()

    assert words == ["There is no model to run. Choose a model file with the button …"]
