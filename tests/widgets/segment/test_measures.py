"""Radiomics and contrast agent in the Segment dock: the figures of the commands, to look at and to save."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog
from shipped import FRAME

import napari_cln
from napari_cln._layers import KEY
from napari_cln.phantom.perfusion import DYNAMIC_RANGE_DB, ContrastClip
from napari_cln.workflow.radiomics import radiomics_rows


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer()


@pytest.fixture
def dock(viewer):
    return viewer.window.add_plugin_dock_widget("napari-cln")[1]


@pytest.fixture
def press(qtbot):
    """Press a button of the measures with the mouse, and wait."""

    def press(dock, name: str) -> None:
        qtbot.mouseClick(getattr(dock.view.measures, name), Qt.MouseButton.LeftButton)
        qtbot.waitUntil(lambda: not dock.measuring.is_busy, timeout=60_000)

    return press


@pytest.fixture
def save(qtbot, monkeypatch, tmp_path):
    """Save what is shown, and read the tables back."""

    def save(dock) -> list[list[dict[str, str]]]:
        monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "out.csv"), ""))
        qtbot.mouseClick(dock.view.measures.save, Qt.MouseButton.LeftButton)
        tables = []
        for path in sorted(tmp_path.glob("out*.csv")):
            with path.open(newline="", encoding="utf-8") as file:
                tables.append(list(csv.DictReader(file)))
        return tables

    return save


@pytest.fixture
def outline(viewer):
    """Outline a region on the frame in view, as a reader does on a layer of their own."""

    def outline(instances: np.ndarray):
        return viewer.add_labels(instances.copy())

    return outline


def shown(dock) -> dict[str, str]:
    """The first column of the table, by the names of its rows."""
    table = dock.view.measures.table
    return {table.verticalHeaderItem(k).text(): table.item(k, 0).text() for k in range(table.rowCount())}


def test_radiomics_are_those_of_the_command(viewer, dock, open_image, outline, press, save):
    image = open_image(viewer, FRAME)
    instances = np.zeros(image.data.shape[:2], np.uint8)
    instances[200:240, 300:360], instances[260:300, 330:390] = 1, 2
    outline(instances)

    press(dock, "radiomics")

    expected, _ = radiomics_rows(napari_cln.read_frame(FRAME), instances)
    found = shown(dock)
    assert [found[name] for name in expected[0] if name != "node"] == [
        str(value) for name, value in expected[0].items() if name != "node"
    ]
    assert dock.view.measures.table.columnCount() == 2
    (rows,) = save(dock)
    assert [row["node"] for row in rows] == ["1", "2"]
    assert list(rows[0]) == ["source", "frame", *expected[0]]
    assert dock.message.text() == "Saved out.csv."


def test_the_figures_go_with_the_mask_that_they_are_of(viewer, dock, open_image, outline, press):
    image = open_image(viewer, FRAME)
    instances = np.zeros(image.data.shape[:2], np.uint8)
    instances[200:240, 300:360] = 1
    labels = outline(instances)
    press(dock, "radiomics")
    assert dock.view.measures.table.isVisibleTo(dock)

    labels.data[210, 310] = 0
    dock.reset_choices()

    assert not dock.view.measures.table.isVisibleTo(dock)


def test_a_contrast_agent_has_the_curve_that_python_gives(viewer, dock, outline, press, save):
    clip = list(ContrastClip(5, 30))
    frames = [one.frame for one in clip]
    stack = np.stack([frame.pixels for frame in frames])
    viewer.add_image(stack, rgb=True, metadata={KEY: frames})
    viewer.dims.set_current_step(0, 12)
    masks = np.zeros(stack.shape[:3], np.uint8)
    masks[12] = clip[12].instances
    outline(masks)
    dock.view.measures.dynamic_range.setValue(DYNAMIC_RANGE_DB)

    press(dock, "perfusion")

    expected = napari_cln.perfusion(frames, clip[12].instances == 1, at=12, dynamic_range_db=DYNAMIC_RANGE_DB)
    found = shown(dock)
    assert float(found["rise_s"]) == pytest.approx(expected.wash_in.rise_s, abs=1e-3)
    assert found["intensity"] == "linear, of 45 dB"
    assert dock.view.measures.plot.isVisibleTo(dock)
    figures, curves = save(dock)
    assert list(figures[0])[:4] == ["source", "node", "arrival_s", "time_to_peak_s"]
    assert [float(row["node"]) for row in curves if row["frame"] == "29"] == pytest.approx(
        [expected.node[29]], abs=1e-5
    )
    viewer.dims.set_current_step(0, 3)  # the curve is of the whole clip
    assert dock.view.measures.plot.isVisibleTo(dock)


def test_what_can_not_be_measured_is_said_in_a_sentence(viewer, dock, open_cine, outline, press):
    cine = open_cine(viewer, 10)
    press(dock, "radiomics")
    assert dock.message.text().startswith("Nothing is outlined on this frame.")
    masks = np.zeros(cine.data.shape, np.uint8)
    masks[:, 40:80, 40:80] = 1
    outline(masks)

    press(dock, "perfusion")

    assert "does not say the time between its frames" in dock.message.text()
