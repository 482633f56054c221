"""Report on what is installed and what will be used: the answer to "why does it not work here?".

Each check is a generator of lines; one that fails says so in a line, and the others go on.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, entry_points, version
from importlib.util import find_spec
from pathlib import Path

from .errors import ClnError

LIBRARIES = ("napari", "npe2", "torch", "numpy", "scipy", "scikit-image", "pillow", "tifffile", "pydicom")
CODECS = ("imagecodecs", "av")
QT_BINDINGS = ("PySide6", "PyQt6", "PySide2", "PyQt5")
WINDOW_SECONDS = 30

# In a process of its own: a Qt that lacks a system library ends the process.
OPEN_WINDOW = """
from qtpy.QtGui import QGuiApplication, QOffscreenSurface, QOpenGLContext
application = QGuiApplication([])
surface, context = QOffscreenSurface(), QOpenGLContext()
surface.create()
if not (context.create() and context.makeCurrent(surface)):
    raise SystemExit("no OpenGL context")
print("OpenGL", *context.format().version(), "through", application.platformName())
"""


def examine() -> Iterator[str]:
    """Look at this installation.

    Yields
    ------
    str
        A line for the user, headings and blank lines included. Nothing is raised: what is
        missing is named.
    """
    sections: dict[str, Callable[[], Iterator[str]]] = {
        "Versions": _versions,
        "Device": _device,
        "Models": _models,
        "Readers": _readers,
        "Window": _window,
    }
    for title, look in sections.items():
        yield title
        try:
            for line in look():
                yield f"  {line}"
        except ClnError as error:
            yield f"  {error}"
        except Exception as error:
            yield f"  could not be examined: {type(error).__name__}: {error}"
        yield ""
    yield "For research, not for diagnosis."


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "MISSING"


def _versions() -> Iterator[str]:
    yield f"napari-cln {_version('napari-cln')}, Python {platform.python_version()}"
    yield f"{platform.system()} {platform.release()}, {platform.machine()}, {os.cpu_count()} processors"
    yield ", ".join(f"{name} {_version(name)}" for name in LIBRARIES)
    registered = {entry.name for entry in entry_points(group="napari.manifest")}
    if "napari-cln" not in registered:
        yield "napari does not know this plugin. Install napari-cln again."


def _device() -> Iterator[str]:
    from .network.inference import choose_device

    chosen = choose_device("auto")
    yield f"{chosen.name} will be used: {chosen.reason}"
    for name in ("cuda", "mps", "cpu"):
        if name != chosen.name:
            try:
                choose_device(name)
            except ClnError as error:
                yield f"{name}: {error}"
            else:
                yield f"{name}: there, with --device {name}"


def _models() -> Iterator[str]:
    from .models.library import known_models, models_folder

    cards, faults = known_models()
    for card in cards:
        yield f"{card.model_id}: {_state(card.name)}. {card.limits}"
    if not cards:
        yield "none found: the installation is not whole. Install napari-cln again."
    yield from (str(fault) for fault in faults)
    where = "is there" if models_folder().is_dir() else "not made yet"
    yield f"own models: {_from_home(models_folder())} {where} (NAPARI_CLN_MODELS names another folder)"


def _from_home(folder: Path) -> str:
    """A folder without the user's name where it lies in their home, so that the page can be passed on."""
    try:
        return str("~" / folder.absolute().relative_to(Path.home()))
    except (ValueError, RuntimeError):
        return str(folder)


def _state(model: str) -> str:
    from .network.weights import load_model

    try:
        load_model(model)  # checks the SHA-256, and that the weights fit
    except ClnError as error:
        return str(error).removesuffix(".")
    return "whole"


def _readers() -> Iterator[str]:
    from pydicom import uid

    from .io.dicom.codecs import NEW_NAMES, VIDEO_FORMATS, decoder_name

    if find_spec("gdcm") is not None:
        yield (
            "WARNING: GDCM is installed. It ends the whole program on damaged JPEG data; napari-cln never "
            "uses it, but other plugins may. Remove it: pip uninstall python-gdcm"
        )
    yield ", ".join(f"{name} {_version(name)}" for name in CODECS)
    known, unknown = [], []
    for syntax in uid.AllTransferSyntaxes:
        try:
            if syntax not in VIDEO_FORMATS:
                decoder_name(syntax)
            known.append(syntax.keyword)
        except NotImplementedError:
            unknown.append(syntax.keyword)
    known += NEW_NAMES.values()  # younger than pydicom's list
    yield f"DICOM: {', '.join(known)}"
    yield f"DICOM that can't be read: {', '.join(unknown)}"
    yield from _video_codecs()


def _video_codecs() -> Iterator[str]:
    import av

    wanted = ("mjpeg", "mpeg4", "h264", "hevc", "mpeg2video", "vp9", "rawvideo")
    missing = [name for name in wanted if name not in av.codecs_available]
    yield f"video: {', '.join(name for name in wanted if name not in missing)}"
    if missing:
        yield f"video that can't be read: {', '.join(missing)}"


def _window() -> Iterator[str]:
    bindings = [name for name in QT_BINDINGS if find_spec(name) is not None]
    if not bindings:
        yield 'no Qt: napari can\'t open a window. Install it: pip install "napari-cln[gui]"'
        return
    yield ", ".join(bindings) + f" (qtpy {_version('qtpy')})"
    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        yield "no display here: a window needs one, or a virtual one (xvfb-run). All else works without."
        return
    tried = subprocess.run(
        [sys.executable, "-c", OPEN_WINDOW],
        capture_output=True,
        text=True,
        timeout=WINDOW_SECONDS,
        check=False,
    )
    if tried.returncode == 0:
        yield tried.stdout.strip()
    else:
        reason = (tried.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        yield f"a window can't be opened: {reason}"
        yield "On Debian or Ubuntu, bash tools/tox in the checkout installs the system's libraries for it."
