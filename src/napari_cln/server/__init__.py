"""The MONAI Label protocol for 3D Slicer, over a training folder and the models."""

from __future__ import annotations

import secrets
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from ..errors import RunError
from ..folder.dataset import TrainingFolder

__all__ = ["serve"]


def serve(
    folder: str | Path,
    *,
    port: int = 8000,
    model: str = "in-use",
    device: str = "auto",
    announce: Callable[[str], object] = print,
) -> None:
    """Serve a training folder and the models to 3D Slicer on this computer, until interrupted.

    Parameters
    ----------
    folder : str or Path
        Training folder.
    port : int
        0 for a free one.
    model : str
        Name or file of the model that comes first; the others can be chosen in Slicer.
    device : str
        Device that computes.
    announce : callable
        Gets the address, once it answers: ``http://127.0.0.1:PORT/TOKEN``. Who has it may read the folder and
        save into it.

    Raises
    ------
    RunError
        If the port is taken.
    DatasetError, WeightsError, DeviceError
        If the folder, the model or the device can't be had.
    """
    try:
        import uvicorn

        from .app import make_app
    except ImportError as cause:
        raise RunError("Slicer is served by an extra: pip install 'napari-cln[server]'") from cause
    study = TrainingFolder.open(folder)
    token = secrets.token_urlsafe(16)
    app = make_app(study, token=token, model=model, device=device)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as door:
        if sys.platform != "win32":  # there it would let two servers share a port
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            door.bind(("127.0.0.1", port))
        except OSError as cause:
            raise RunError(
                f"Port {port} can't be had ({cause.strerror}).",
                "Choose another by --port; 0 takes a free one.",
            ) from cause
        door.listen(64)
        announce(f"http://127.0.0.1:{door.getsockname()[1]}/{token}")
        # No log of requests: they hold the secret, and names of patients' pictures.
        config = uvicorn.Config(
            app, access_log=False, log_level="critical", server_header=False, lifespan="off", ws="none"
        )
        uvicorn.Server(config).run(sockets=[door])
