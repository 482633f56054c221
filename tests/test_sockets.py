"""No connection is opened but by serve, on this computer, and by --scheduler: a run listens to itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import napari_cln

SAMPLE = Path(napari_cln.__file__).parent / "samples" / "simulated-frame.dcm"
RUN = """
import sys

heard = []
EVENTS = ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto", "urllib", "http.client")


def listen(event, arguments):
    # urllib3, which the reader of text brings, asks in this way whether there is IPv6, and closes it
    if event.startswith(EVENTS) and arguments[1:] != (("::1", 0),):
        heard.append((event, arguments))


sys.addaudithook(listen)

import numpy as np
from PIL import Image
from napari_cln.cli import main
from napari_cln.imaging.burned_in import find_text

sample, model = sys.argv[1:]
codes = [
    main(["phantom", "6", "--out", "study"]),
    main(["export", "study", "--format", "coco", "--out", "coco"]),
    main(["import", "coco", "--out", "again"]),
    main(["segment", sample, "--out", "results", "--model", model, "--dicom", "--device", "cpu"]),
    main(["check", "study", "--text"]),
    main(["doctor"]),
]
find_text(np.asarray(Image.new("L", (200, 100), 90)))
assert heard == [], heard
assert codes == [0] * 6, codes
"""


@pytest.mark.slow
def test_no_connection_is_opened(models, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "NAPARI_CLN_TEXT"}
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(SAMPLE), str(models / "small.safetensors")],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )

    assert done.returncode == 0, done.stderr
