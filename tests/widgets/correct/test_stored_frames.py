"""A stored frame that is segmented again: the network gets all that was measured of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from napari.components import ViewerModel
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

import napari_cln
from napari_cln._layers import KEY
from napari_cln.annotation import Annotation, Node
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.models.card import ModelCard
from napari_cln.network.model import YNet, YNetConfig
from napari_cln.network.weights import save_model
from napari_cln.types import Frame, Prediction, PrepareConfig
from napari_cln.widgets.common.number_field import NumberField
from napari_cln.widgets.correct.session import Session
from napari_cln.widgets.prompts.scale import ScaleTool


@pytest.fixture
def wide_model(tmp_path, monkeypatch) -> str:
    """A small network with planes for flow and the despeckled view, whose weights are anything."""
    torch.manual_seed(3)
    network = YNet(YNetConfig(width=0.125, decoder_width=8, planes=4)).eval()
    for name, weights in network.named_parameters():
        if name.endswith("beside"):
            torch.nn.init.normal_(weights)
    card = ModelCard(
        name="wide", config=network.config, prepare=PrepareConfig(channels=("flow", "despeckled"))
    )
    save_model(network, tmp_path / "wide.safetensors", card)
    monkeypatch.setenv("NAPARI_CLN_MODELS", str(tmp_path))
    return "wide"


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """A frame with Doppler flow, and the training folder that keeps it without its colours."""
    monkeypatch.setenv("NAPARI_CLN_CONFIG", str(tmp_path / "config"))
    frame = napari_cln.simulate(3_001, n_nodes=1, doppler=True).frame
    instances = np.zeros(frame.shape, np.uint8)
    instances[200:240, 300:360] = 1
    folder = TrainingFolder.create(tmp_path / "study")
    node = Node(id=1, level="III", side="left")
    case = folder.save(Annotation(frame=frame, instances=instances, nodes=(node,), status="accepted"))
    return frame, folder, case


@pytest.fixture
def docks(make_napari_viewer, wide_model, stored):
    """The Correct dock with the stored frame open, and the Segment dock beside it."""
    viewer = make_napari_viewer()
    _, correct = viewer.window.add_plugin_dock_widget("napari-cln", "Correct")
    _, segment = viewer.window.add_plugin_dock_widget("napari-cln")
    segment.view.model.choose(wide_model)
    segment.view.device.setCurrentIndex(segment.view.device.findData("cpu"))
    _, folder, case = stored
    assert correct.open_case(folder.path, case.id) is not None
    return correct, segment


def test_a_stored_frame_gets_the_result_of_the_frame_it_was_cut_from(docks, wide_model, stored, qtbot):
    frame, folder, case = stored
    _, dock = docks

    qtbot.mouseClick(dock.view.run_frame, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not dock.session.is_running, timeout=60_000)

    expected = napari_cln.segment(frame, wide_model, "cpu")
    without = napari_cln.segment(folder.read_image(case), wide_model, "cpu")
    left, top, right, bottom = folder.record(case.id).source.crop
    known = [layer.metadata.get(KEY) for layer in dock.viewer.layers]
    (found,) = [each for each in known if isinstance(each, Prediction)]
    np.testing.assert_array_equal(found.instances, expected.instances[top:bottom, left:right])
    assert found.malignancy == pytest.approx(expected.malignancy, abs=1e-6)
    assert found.malignancy != pytest.approx(without.malignancy, abs=1e-3)


def test_what_a_reader_said_of_a_node_stands_in_its_sentence(docks, stored, qtbot):
    _, folder, case = stored
    _, dock = docks
    qtbot.mouseClick(dock.view.run_frame, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not dock.session.is_running, timeout=60_000)
    (labels,) = [layer for layer in dock.viewer.layers if isinstance(layer.metadata.get(KEY), Prediction)]
    drawn = folder.read_instances(case)  # the model, which knows nothing, draws what the reader drew
    found = replace(labels.metadata[KEY], instances=drawn, node_scores=(0.7,), node_doubts=())
    labels.metadata[KEY], labels.data = found, drawn

    qtbot.mouseClick(dock.view.verdict.copy, Qt.MouseButton.LeftButton)

    assert QApplication.clipboard().text().startswith("Node 1, left level III: ")


def test_a_stored_scale_that_was_typed_is_corrected_by_typing_another(keep, config, tmp_path, qtbot):
    folder = TrainingFolder.create(tmp_path / "study")
    noise = np.random.default_rng(7).integers(0, 255, (96, 110), np.uint8)
    instances = np.zeros(noise.shape, np.uint8)
    instances[30:60, 30:60] = 1
    frame = Frame(pixels=noise, spacing_mm=(0.05, 0.05), spacing_source="typed")
    case = folder.save(Annotation(frame=frame, instances=instances, status="accepted"), who="r1")
    session = keep(Session(ViewerModel()))
    session.filing.take_reader("r1")
    session.enter(folder)
    qtbot.waitUntil(lambda: bool(session.work.items), timeout=30_000)
    session.open_case(case.id)
    image, tool = session.navigator.image, ScaleTool(session.viewer, session)
    tool.typed.connect(session.let_go)

    tool.start(image, 0)
    session.viewer.layers.selection.active.add_lines([[10, 10], [90, 10]])
    tool.apply(image, NumberField(title="Length", value=8))

    assert session.mask.frame.spacing_mm == (0.1, 0.1)
    session.flush()
    qtbot.waitUntil(lambda: folder.record(case.id).spacing_mm == (0.1, 0.1), timeout=30_000)
    assert folder.record(case.id).spacing_by == "r1"
    session.filing.saver.close()
