"""Segmenting without a window: the session alone, with a small real network."""

from __future__ import annotations

import csv
from dataclasses import replace

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
from napari_cln.network.weights import load_model, save_model
from napari_cln.widgets.commands import measure_layer
from napari_cln.widgets.common.results import readings_in
from napari_cln.widgets.frames.session import LayerStash, NetworkInput
from napari_cln.widgets.prompts.scale import set_scale
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


def test_radiomics_are_never_of_one_image_with_the_mask_of_another(session, qtbot):
    viewer, noise = session.viewer, np.random.default_rng(0)
    masks = []
    for name, number in (("A", 1), ("B", 2)):
        image = viewer.add_image(noise.integers(0, 255, (120, 140), np.uint8), name=name)
        masks.append(viewer.add_labels(np.zeros((120, 140), np.uint8)))
        masks[-1].data[30:90, 30:90] = number
        link(masks[-1], image)
    painted = viewer.add_labels(np.full((120, 140), 3, np.uint8))
    measuring = Measuring(viewer, session)

    def nodes_of_a(chosen: Labels) -> list[tuple[object, object]]:
        viewer.layers.selection.active = chosen
        measuring.radiomics(viewer.layers["A"], 0)
        qtbot.waitUntil(lambda: not measuring.is_busy, timeout=60_000)
        rows = measuring.found(viewer.layers["A"], 0).rows
        return [(row["source"], row["node"]) for row in rows]

    assert nodes_of_a(masks[0]) == [("A", 1)]
    assert nodes_of_a(masks[1]) == [("A", 1)], "the mask that is chosen is B's"
    assert nodes_of_a(painted) == [("A", 3)], "what no image owns is what the reader outlined"


# ------------------------------------------------------------ one cutoff


@pytest.fixture
def other_model(models, tmp_path, monkeypatch) -> str:
    """The small network once more, under another name and with another cutoff."""
    network = load_model(models / "small.safetensors")
    save_model(network, tmp_path / "other.safetensors", replace(network.card, name="other", cutoff=0.77))
    return str(tmp_path / "other.safetensors")


@pytest.fixture
def segment(session, qtbot):
    """Segment all frames of an image, and wait."""

    def segment(image) -> None:
        session.choose_image(image)
        session.segment_all()
        qtbot.waitUntil(lambda: not session.is_running, timeout=60_000)

    return segment


def cutoffs(session: SegmentSession) -> set[float]:
    """Every cutoff by which a score in the window is called: of frames, of clips, and on the canvas."""
    found = set()
    for image in session.images:
        session.image = image
        found |= {reading.cutoff for reading in readings_in(session.viewer, image).values()}
        found |= {track.cutoff for track in session.state.tracks}
    for layer in session.viewer.layers:
        found |= set(getattr(layer, "features", {}).get("cutoff", ()))
    return found


def test_a_cutoff_that_is_typed_while_the_model_loads_holds_for_what_it_finds(session, open_image, qtbot):
    session.choose_image(open_image(session.viewer, FRAME))

    session.segment_frame()
    session.set_cutoff(0.99)
    qtbot.waitUntil(lambda: not session.is_running, timeout=60_000)

    assert cutoffs(session) == {0.99}
    assert all("below its cutoff 0.99: benign" in sentence for sentence in session.sentences)


def test_a_cutoff_that_is_typed_during_a_run_holds_for_the_whole_clip(session, open_cine, qtbot):
    session.choose_image(open_cine(session.viewer, 12))

    session.segment_all()
    qtbot.waitUntil(lambda: session.run.done >= 2, timeout=60_000)
    session.set_cutoff(0.99)
    qtbot.waitUntil(lambda: not session.is_running, timeout=60_000)

    assert session.state.tracks and cutoffs(session) == {0.99}


def test_a_cutoff_holds_for_every_image_of_the_window(session, open_image, open_cine, segment):
    segment(open_image(session.viewer, FRAME))
    segment(open_cine(session.viewer, 2))

    session.set_cutoff(0.99)

    assert cutoffs(session) == {0.99}


def test_layers_that_were_put_aside_come_back_at_the_cutoff_of_now(session, open_image, segment, qtbot):
    viewer = session.viewer
    viewer.layers.events.connect(session.notice)
    image, stash = open_image(viewer, FRAME), LayerStash(viewer)
    segment(image)
    n_layers = len(viewer.layers)
    stash.put(FRAME, image)
    session.set_cutoff(0.99)

    stash.take(FRAME)

    qtbot.waitUntil(lambda: cutoffs(session) == {0.99})
    assert len(viewer.layers) == n_layers


def test_a_score_is_called_at_the_cutoff_of_its_own_model_until_one_is_typed(
    session, open_cine, segment, other_model
):
    first, second = open_cine(session.viewer, 2), open_cine(session.viewer, 2)
    segment(first)
    session.choose_model(other_model)
    assert session.cutoff == 0.77 and cutoffs(session) == {0.41}
    segment(second)
    assert cutoffs(session) == {0.41, 0.77}
    session.image = first
    assert {track.cutoff for track in session.state.tracks} == {0.41}

    session.set_cutoff(0.6)
    assert cutoffs(session) == {0.6}

    session.choose_model("small")
    assert session.cutoff == 0.41 and cutoffs(session) == {0.41, 0.77}


# ------------------------------------------------------------ one scale


def said_of_sizes(session: SegmentSession) -> tuple[object, ...]:
    """What is said of the nodes of an image: in sentences, on the canvas, and in tables."""
    (labels, texts) = session.viewer.layers[1:]
    columns = ["short_axis_mm", "long_axis_mm", "area_mm2"]
    return session.sentences, list(texts.text.values), labels.features[columns].round(6).fillna(0).to_dict()


@pytest.mark.parametrize("n_frames", [1, 2])
def test_a_scale_that_is_typed_holds_for_what_was_measured_before(
    session, open_cine, segment, qtbot, n_frames
):
    cine = open_cine(session.viewer, 2)
    if n_frames == 1:
        session.viewer.layers.remove(cine)
        cine = session.viewer.add_image(np.array(cine.data[0]), name="still")
    measuring = Measuring(session.viewer, session)
    segment(cine)
    assert "without calibration" in session.sentences[0]

    set_scale(session.viewer, cine, 0.05)
    at_first = said_of_sizes(session)
    measure_layer(session.viewer, session.viewer.layers[1])
    measuring.radiomics(cine, session.index)
    qtbot.waitUntil(lambda: not measuring.is_busy, timeout=60_000)
    assert measuring.found(cine, session.index) is not None
    set_scale(session.viewer, cine, 0.1)

    assert measuring.found(cine, session.index) is None
    now = said_of_sizes(session)  # the axes have gone
    assert all(" mm (long" in sentence for sentence in at_first[0]) and now[0] != at_first[0]
    segment(cine)
    assert said_of_sizes(session) == now


def test_a_scale_that_is_typed_during_a_run_holds_for_the_whole_clip(session, open_cine, qtbot):
    session.choose_image(image := open_cine(session.viewer, 12))

    session.segment_all()
    for n_done, mm_per_px in ((1, 0.1), (2, 0.05)):
        qtbot.waitUntil(lambda n=n_done: session.run.done >= n, timeout=60_000)
        set_scale(session.viewer, image, mm_per_px)
    qtbot.waitUntil(lambda: not session.is_running, timeout=60_000)

    assert len(session.state.readings) == 12
    for reading in session.state.readings.values():
        size = reading.nodes[0].size
        assert size.long_axis_mm == pytest.approx(size.long_axis_px * 0.05)
