"""A study of six real frames that nobody has judged, and a client that asks as Slicer's does."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote_plus, urlparse

import numpy as np
from PIL import Image

from napari_cln.annotation import Annotation
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.folder.screens import confirm_screens, unseen_screens
from napari_cln.types import Frame

LIMIT = "--limit-of-a-part"


@dataclass
class Answer:
    """Answer to a request."""

    status: int
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def parts(self) -> tuple[dict, bytes]:
        """Parameters and file of an answer to infer."""
        boundary = self.body.split(b"\r\n", 1)[0]
        _, params, file, _ = self.body.split(boundary)
        return json.loads(params.split(b"\r\n\r\n", 1)[1]), file.split(b"\r\n\r\n", 1)[1][:-2]


@dataclass
class Slicer:
    """Speaks as the module's client does: no header but what it must, multipart forms by hand."""

    url: str

    def ask(self, verb: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        parsed = urlparse(self.url)
        connection = http.client.HTTPConnection(parsed.hostname, parsed.port, timeout=60)
        connection.request(
            verb, parsed.path + path, body, {k.replace("_", "-"): v for k, v in headers.items()}
        )
        try:
            answer = connection.getresponse()
            return Answer(answer.status, answer.read())
        finally:
            connection.close()

    def form(self, verb: str, path: str, params: dict | str = "{}", **files: bytes) -> Answer:
        text = params if isinstance(params, str) else json.dumps(params)
        lines = [f'--{LIMIT}\r\nContent-Disposition: form-data; name="params"\r\n\r\n{text}\r\n'.encode()]
        for name, data in files.items():
            head = (
                f'--{LIMIT}\r\nContent-Disposition: form-data; name="{name}"; filename="/tmp/a.nrrd"\r\n\r\n'
            )
            lines.append(head.encode() + data + b"\r\n")
        body = b"".join(lines) + f"--{LIMIT}--\r\n".encode()
        return self.ask(verb, path, body, content_type=f"multipart/form-data; boundary={LIMIT}")

    def next(self, reader: str = "reader-7", strategy: str = "queue") -> dict:
        body = json.dumps({"client_id": reader}).encode()
        return self.ask("POST", f"/activelearning/{strategy}", body).json

    def save(self, image: str, mask: bytes, names=("lymph node 1",), reader: str = "reader-7") -> Answer:
        info = [{"name": name, "idx": i} for i, name in enumerate(names, start=1)]
        params = {"label_info": info, "model": "small", "client_id": reader}
        return self.form("PUT", f"/datastore/label?image={quote_plus(image)}", params, label=mask)


def judged_by_nobody(folder: Path, data: Path) -> TrainingFolder:
    study = TrainingFolder.create(folder)
    for path in sorted((data / "folder" / "images").glob("*.png"))[:6]:
        pixels = np.array(Image.open(path))
        frame = Frame(pixels=pixels, scan_area=(0, 0, *pixels.shape))
        empty = np.zeros(pixels.shape, np.uint8)
        study.save(Annotation(frame=frame, instances=empty, status="predicted"), who="import")
    confirm_screens(study, unseen_screens(study), "r1")
    return study


def start(study: Path, models: Path, *more: str) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "napari_cln", "serve", str(study), "--port", "0", "--model", "small", *more],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "NAPARI_CLN_MODELS": str(models)},
    )
    return process, process.stdout.readline().strip()
