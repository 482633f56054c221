"""The docks' pictures of the documentation: ``xvfb-run -a python benchmarks/pictures.py WORK [--docs]``.

Shows each dock in a real window, all five open, on simulated frames, at the sizes and themes asked for. In
the folder ``WORK`` lie, or are made, a training folder with predicted masks, one with truths, a short run
and a report. ``--docs`` writes the pictures of the documentation into ``docs/images``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("NAPARI_CLN_CONFIG", "build/pictures/config")

import napari
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QWidget

from napari_cln.phantom import simulate
from reader import predicted_study

DOCKS = ("Segment", "Frames", "Correct", "Train", "Evaluate")
IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
FRAME = IMAGES.parent.parent / "src" / "napari_cln" / "samples" / "simulated-frame.dcm"


def prepare(work: Path) -> None:
    """Make the material that is not there yet."""
    import imageio.v3

    work.mkdir(parents=True, exist_ok=True)
    if not (work / "thyroid").exists():
        predicted_study(work / "thyroid", 12, 4)
    if not (work / "files").exists():
        (work / "files").mkdir()
        for seed in range(12):
            imageio.v3.imwrite(work / "files" / f"frame-{seed:02d}.png", simulate(seed).frame.pixels)
    command = [sys.executable, "-m", "napari_cln"]
    for made, arguments in (
        ("neck", ["phantom", "32", "--seed", "5", "--out"]),
        ("report", ["evaluate", str(work / "neck"), "--model", "default", "--out"]),
        ("run", ["train", str(work / "neck"), "--epochs", "4", "--folds", "1", "--out"]),
    ):
        if not (work / made).exists():
            subprocess.run([*command, *arguments, str(work / made)], check=True)


def wait(seconds: float = 0.5) -> None:
    QTest.qWait(int(1000 * seconds))


def show(viewer: napari.Viewer, name: str, work: Path, docks: dict[str, QWidget]) -> None:
    """Bring a dock to the front, at work."""
    dock = docks[name]
    if name == "Segment":
        viewer.open(FRAME, plugin="napari-cln")
    elif name == "Frames":
        viewer.layers.clear()
        dock.add(work / "files")
        wait(2)
        docks["Segment"].segment_frame()
        wait(1)
        while docks["Segment"].session.is_running:
            wait(0.2)
    elif name == "Correct":
        viewer.layers.clear()
        dock.view.study.reader.setText("r1")
        dock.view.study.reader.editingFinished.emit()
        dock.view.study.open_folder(work / "thyroid")
        while dock.view.walk.number.value() is None:
            wait(0.2)
    elif name == "Train":
        docks["Train"].session.process.folder = work / "neck"
        docks["Train"].session.process.choose_out(work / "run")
    else:
        dock.session.process.choose_folder(work / "neck")
        dock.session.process.choose_out(work / "report")
        dock.look()
        while not dock.view.report.ids:
            wait(0.2)
        dock.session.open_frame(dock.view.report.ids[0])
    wait(2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--size", default="1366x768")
    parser.add_argument("--theme", default="dark")
    parser.add_argument("--docks", default=",".join(DOCKS))
    parser.add_argument("--docs", action="store_true", help="write the pictures of the documentation")
    options = parser.parse_args()
    prepare(options.work)
    width, height = map(int, options.size.split("x"))
    viewer = napari.Viewer(show=False)
    viewer.theme = options.theme
    window = viewer.window._qt_window
    window.setWindowFlag(Qt.WindowType.FramelessWindowHint)
    window.setGeometry(0, 0, width, height)
    window.show()
    docks = {name: viewer.window.add_plugin_dock_widget("napari-cln", name)[1] for name in DOCKS}
    wait(3)  # they join behind tabs
    for name in options.docks.split(","):
        show(viewer, name, options.work.absolute(), docks)
        docks[name].parentWidget().raise_()
        wait(0.5)
        to = options.work / f"{name.lower()}-{options.theme}-{options.size}.png"
        if options.docs:
            to = IMAGES / f"{name.lower()}.png"
        viewer.screenshot(str(to), canvas_only=False, flash=False)
        print(to, window.size().width(), window.size().height(), docks[name].width(), flush=True)
    viewer.close()


if __name__ == "__main__":
    main()
