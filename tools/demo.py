"""Show a frame in napari with its mask and score: ``tox -e demo``, or ``tox -e demo -- image.png``.

Without a display it does the same on a virtual one, saves the screenshot and prints where.
"""

from __future__ import annotations

import argparse
import sys
from importlib import resources
from pathlib import Path

from with_display import has_display, run_on_virtual_display

SCREENSHOT = Path(__file__).resolve().parent.parent / "build" / "demo.png"
ENDINGS = (".png", ".jpg", ".tif", ".tiff", ".dcm")


def shipped_frame() -> Path:
    """The first of the frames that ship with the package."""
    folder = Path(str(resources.files("napari_cln"))) / "samples"
    frames = sorted(path for path in folder.iterdir() if path.suffix in ENDINGS)
    if not frames:
        raise SystemExit("The package holds no sample frame. Give one: tox -e demo -- image.png")
    return frames[0]


def main() -> int:
    parser = argparse.ArgumentParser(prog="tox -e demo --", description=__doc__)
    parser.add_argument(
        "image", nargs="?", type=Path, help="a frame, cine or video (default: one that ships)"
    )
    parser.add_argument("--screenshot", type=Path, help="save a picture of the window, and close it")
    options = parser.parse_args()
    image = (options.image or shipped_frame()).resolve()
    if not image.exists():
        parser.error(f"there is no file {image}")
    if not has_display():
        to = options.screenshot or SCREENSHOT
        return run_on_virtual_display([sys.executable, __file__, str(image), "--screenshot", str(to)])
    return show(image, options.screenshot)


def show(image: Path, screenshot: Path | None) -> int:
    """Open the frame through the plugin's reader, with the Segment dock beside it."""
    import napari
    from napari.layers import Labels
    from qtpy.QtTest import QTest

    viewer = napari.Viewer(title=f"napari-cln: {image.name}")
    viewer.window.resize(1500, 950)
    viewer.open(image, plugin="napari-cln")
    viewer.window.add_plugin_dock_widget("napari-cln", "Segment")
    for layer in viewer.layers:
        if isinstance(layer, Labels) and not layer.features.empty:
            print(layer.name, layer.features.to_string(index=False), sep="\n")
    if screenshot is None:
        napari.run()
        return 0
    QTest.qWait(1500)  # the canvas is drawn by the event loop
    screenshot = screenshot.resolve()
    screenshot.parent.mkdir(parents=True, exist_ok=True)
    viewer.screenshot(str(screenshot), canvas_only=False, flash=False)
    shown = any(isinstance(layer, Labels) for layer in viewer.layers)
    viewer.close()
    print(f"Screenshot: {screenshot}")
    if not shown:
        print("The frame was shown without a mask.", file=sys.stderr)
    return 0 if shown else 1


if __name__ == "__main__":
    sys.exit(main())
