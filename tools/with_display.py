"""Run a command on the display there is, or on a virtual one: ``with_display.py COMMAND…``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence


def has_display() -> bool:
    """Whether a window can be shown to a person."""
    if not sys.platform.startswith("linux"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def run_on_virtual_display(command: Sequence[str]) -> int:
    """Run a command under Xvfb and return its exit code."""
    if shutil.which("xvfb-run") is None:
        print("There is no display and no xvfb-run. Run: sudo apt-get install xvfb xauth", file=sys.stderr)
        return 1
    xvfb = ["xvfb-run", "--auto-servernum", "--server-args=-screen 0 1600x1000x24"]
    # Qt takes the xcb plugin: its own "offscreen" platform has no OpenGL, and no image would show.
    return subprocess.run(
        [*xvfb, *command], env={**os.environ, "QT_QPA_PLATFORM": "xcb"}, check=False
    ).returncode


if __name__ == "__main__":
    if has_display():
        sys.exit(subprocess.run(sys.argv[1:], check=False).returncode)
    sys.exit(run_on_virtual_display(sys.argv[1:]))
