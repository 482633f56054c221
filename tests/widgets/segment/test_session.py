"""Segmenting without a window: the session alone, with a small real network."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels
from PIL import Image as PictureFile
from shipped import FRAME

import napari_cln
from napari_cln._layers import LayerKind, link
from napari_cln.cli import main
from napari_cln.errors import FrameReadError
from napari_cln.widgets.commands import measure_layer
from napari_cln.widgets.frames.session import NetworkInput
from napari_cln.widgets.segment.measures import Measuring
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


@pytest.mark.parametrize("name", ["JPGLosslessP14SV1_1s_1f_8b", "OBXXXX1A_rle_2frame"])
def test_a_dicom_file_with_a_region_gets_the_mask_and_the_score_of_the_command(
    session, open_image, qtbot, tmp_path, data, small_model, name
):
    path = data / "dicom" / f"{name}.dcm"
    out = tmp_path / "results"
    assert main(["segment", str(path), "--out", str(out), "--model", small_model, "--device", "cpu"]) == 0
    with (out / "results.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    session.choose_image(open_image(session.viewer, path))

    session.segment_frame()
    qtbot.waitUntil(lambda: not session.is_running, timeout=60_000)

    (labels,) = (layer for layer in session.viewer.layers if isinstance(layer, Labels))
    mask = labels.data if labels.ndim == 2 else labels.data[0]
    shown = min((out / "masks").rglob("*.png"))
    assert np.array_equal(mask, np.asarray(PictureFile.open(shown)))
    assert session.state.readings[0].nodes[0].score == pytest.approx(float(row["malignancy"]), abs=6e-5)


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


def test_a_slider_beyond_a_shorter_cine_is_named_by_whatever_needs_a_frame(session, open_cine):
    viewer = session.viewer
    short, _ = open_cine(viewer, 3), open_cine(viewer, 9)
    mask = viewer.add_labels(np.ones(short.data.shape, np.uint8))
    link(mask, short)
    session.image = short
    viewer.dims.set_current_step(0, 7)
    words, measuring = said(session), Measuring(viewer, session)
    measuring.told.connect(lambda sentence, _mood, _about: words.append(sentence))
    network = NetworkInput(viewer, session)
    network.image = short
    network.told.connect(lambda sentence, _mood: words.append(sentence))

    session.segment_frame()
    session.explain_frame()
    measuring.radiomics(session.image, session.index)
    network.show_despeckled()
    network.show_marks(LayerKind.OVERLAY, True)

    assert words == ["The slider stands beyond the 3 frames of 'cine'."] * 4
    assert (session.state.index, session.sentences) == (None, ())
    with pytest.raises(FrameReadError, match="The slider stands beyond the 3 frames of"):
        measure_layer(viewer, mask)
