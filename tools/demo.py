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
COLUMNS = ["node", "malignancy", "label", "long_axis_mm", "short_axis_mm", "area_px"]
SHIPPED = Path("samples") / "simulated-frame.dcm"


def main() -> int:
    parser = argparse.ArgumentParser(prog="tox -e demo --", description=__doc__)
    parser.add_argument(
        "image", nargs="?", type=Path, help="a frame, cine or video (default: one that ships)"
    )
    parser.add_argument("--screenshot", type=Path, help="save a picture of the window, and close it")
    options = parser.parse_args()
    image = (options.image or Path(str(resources.files("napari_cln"))) / SHIPPED).resolve()
    if not image.is_file():
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
        if isinstance(layer, Labels):
            nodes = layer.features[layer.features["node"] > 0]
            print(nodes[COLUMNS].to_string(index=False) if len(nodes) else "No node was found.")
    viewer.reset_view()  # the dock has made the canvas narrower
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
