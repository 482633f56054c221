"""Every way in gives the same mask and the same score for the same frame."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

import napari_cln

FRAME = Path(napari_cln.__file__).parent / "samples" / "simulated-frame.dcm"
MODEL = "default"
TOLERANCE = 1e-4
"""Scores may differ by this much with the batch; masks not at all."""

needs_display = pytest.mark.skipif(
    sys.platform == "linux" and not os.environ.get("DISPLAY"),
    reason="there is no display: run under xvfb-run",
)


@dataclass
class Found:
    """What an entrance says about the frame."""

    mask: np.ndarray
    scores: list[float]


@pytest.fixture(scope="module")
def expected() -> Found:
    prediction = napari_cln.segment(FRAME, MODEL, "cpu")
    assert prediction.node_scores, "the sample frame must show a node, or this test shows nothing"
    return Found(prediction.instances, list(prediction.node_scores))


def assert_same(found: Found, expected: Found) -> None:
    np.testing.assert_array_equal(found.mask, expected.mask)
    assert found.scores == pytest.approx(expected.scores, abs=TOLERANCE)


def of_layer(labels) -> Found:
    nodes = labels.features[labels.features["node"] > 0]
    return Found(np.asarray(labels.data).squeeze(), nodes["malignancy"].tolist())


def nodes_layer(viewer):
    from napari.layers import Labels

    (labels,) = (layer for layer in viewer.layers if isinstance(layer, Labels))
    return labels


@pytest.mark.slow
def test_a_stream_of_frames(expected):
    other = napari_cln.simulate(5).frame

    _, prediction, _ = napari_cln.segment_batch([other, FRAME, other], MODEL, "cpu")

    assert_same(Found(prediction.instances, list(prediction.node_scores)), expected)


def test_the_command_line(expected, tmp_path):
    command = [
        sys.executable,
        "-m",
        "napari_cln",
        "segment",
        str(FRAME),
        "--out",
        str(tmp_path),
        "--device",
        "cpu",
    ]
    subprocess.run(command, check=True, capture_output=True)

    with (tmp_path / "results.csv").open(newline="") as file:
        scores = [float(row["malignancy"]) for row in csv.DictReader(file)]
    with Pillow.open(tmp_path / "masks" / f"{FRAME.name}.png") as mask:
        assert_same(Found(np.asarray(mask), scores), expected)


def test_a_script_through_napari_without_a_window(expected, tmp_path):
    code = f"""
import sys
import npe2, numpy as np
from napari.components import ViewerModel
from napari.layers import Labels
npe2.PluginManager.instance().discover()
viewer = ViewerModel()
viewer.open({str(FRAME)!r}, plugin="napari-cln")
(labels,) = (layer for layer in viewer.layers if isinstance(layer, Labels))
np.savez({str(tmp_path / "found.npz")!r}, mask=labels.data, node=labels.features["node"],
         malignancy=labels.features["malignancy"])
assert "PySide6" not in sys.modules and "qtpy" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)

    found = np.load(tmp_path / "found.npz")
    scores = found["malignancy"][found["node"] > 0].tolist()
    assert_same(Found(found["mask"].squeeze(), scores), expected)


@needs_display
def test_the_reader_in_a_window(expected, make_napari_viewer):
    viewer = make_napari_viewer()

    viewer.open(FRAME, plugin="napari-cln")

    assert_same(of_layer(nodes_layer(viewer)), expected)


@needs_display
def test_the_segment_dock(expected, make_napari_viewer, qtbot):
    from napari.layers import Image

    from napari_cln._layers import source_to_layer

    viewer = make_napari_viewer()
    data, options, _ = source_to_layer(napari_cln.open_source(FRAME))
    viewer.add_layer(Image(data, **options))
    _, dock = viewer.window.add_plugin_dock_widget("napari-cln")

    dock.segment_frame()
    qtbot.waitUntil(lambda: any(layer.name.endswith("nodes") for layer in viewer.layers), timeout=60_000)

    assert_same(of_layer(nodes_layer(viewer)), expected)


@needs_display
def test_the_command_of_the_layers_menu(expected, make_napari_viewer, qtbot):
    from napari.layers import Image

    from napari_cln._layers import source_to_layer
    from napari_cln.widgets.commands import segment_layers

    viewer = make_napari_viewer()
    data, options, _ = source_to_layer(napari_cln.open_source(FRAME))
    viewer.layers.selection = {viewer.add_layer(Image(data, **options))}

    segment_layers(viewer)
    qtbot.waitUntil(lambda: any(layer.name.endswith("nodes") for layer in viewer.layers), timeout=60_000)

    assert_same(of_layer(nodes_layer(viewer)), expected)
