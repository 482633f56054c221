"""The Correct dock at a training folder."""

from __future__ import annotations

import pytest

from napari_cln.widgets.correct.dock import CorrectDock


@pytest.fixture
def dock(viewer, folder, qtbot) -> CorrectDock:
    """The dock at the first frame of the folder that a test file makes."""
    _, dock = viewer.window.add_plugin_dock_widget("napari-cln", "Correct")
    dock.view.study.reader.setText("r1")
    dock.view.study.reader.editingFinished.emit()
    dock.view.study.open_folder(folder.path)
    qtbot.waitUntil(lambda: dock.session.navigator.mask is not None, timeout=30_000)
    return dock
