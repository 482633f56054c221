"""Kinds of screen whose pictures a person has looked at, for names and dates burned into them.

No method finds all text in a picture, so a frame is held, neither trained on nor exported, before somebody
has looked at pictures of its kind: same maker, same size, and where the maker is not known the same layout.
A kind that was looked at is not asked about again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from math import ceil
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..disk.atomic import read_json, write_atomically
from ..disk.locks import lock
from ..errors import DatasetError, ExportError, counted, listed
from .dataset import TrainingFolder
from .description import Description, Seen
from .pictures import encode_png
from .record import Record, now
from .text import marked_picture, waiting_frames

PIXELS_SEEN = "113101"
"""DICOM's code (PS3.16, CID 7050) for: the pixels were cleaned, and a person has looked at them."""
N_SHOWN, N_ACROSS = 20, 5
GAP = 8
LAYOUT = 8
"""Pixels to which the place of a scan area is rounded."""
LOOK_AT_TEXT = (
    "Look at them in the Correct dock, or: `napari-cln check FOLDER --pictures DIR`, then --release ID… "
    "--verdict paint, no-name or leave-out, --seen-by READER."
)
SHOWN_FILE = "shown.json"
"""What pictures of each kind were written for somebody to look at, by this copy of the folder."""


def screen_of(record: Record) -> str:
    """Kind of screen that a frame shows: maker and size.

    Where the maker is not known, the place of the scan area stands for it: pictures of one size come from
    every maker and hospital. What was kept uncleaned is a kind of its own.
    """
    source = record.source
    rows, columns = source.shape
    kind = f"{source.manufacturer or 'unknown maker'}, {columns}×{rows}"
    if source.manufacturer is None:
        x0, y0, x1, y1 = (round(edge / LAYOUT) * LAYOUT for edge in source.area or source.crop)
        kind += f", scan area {x0} to {x1} by {y0} to {y1}"
    return f"{kind}, uncleaned" if source.uncleaned else kind


def unseen_screens(study: TrainingFolder) -> dict[str, list[str]]:
    """Kinds of screen that nobody has looked at yet, with the ids of their frames.

    Simulated frames show no patient and are left out.
    """
    seen = Description.read(study.layout.dataset).ours.screens
    unseen: dict[str, list[str]] = defaultdict(list)
    for case_id in study.ids():
        try:
            record = study.record(case_id)
        except DatasetError:
            continue  # a fault of its own, which `check` names
        if record.source.kind != "simulated" and (kind := screen_of(record)) not in seen:
            unseen[kind].append(case_id)
    return dict(sorted(unseen.items()))


def is_held(study: TrainingFolder, record: Record) -> bool:
    """Tell whether a frame is of a kind of screen, or shows text, that nobody has looked at.

    Parameters
    ----------
    study : TrainingFolder
    record : Record
    """
    if record.source.kind == "simulated":
        return False
    if record.source.text is not None and record.source.text.waits:
        return True
    return screen_of(record) not in Description.read(study.layout.dataset).ours.screens


def refuse_held(study: TrainingFolder, ids: Iterable[str], what: str) -> None:
    """Refuse to use frames of kinds of screen, or with text, that nobody has looked at.

    Parameters
    ----------
    study : TrainingFolder
    ids : iterable of str
        Frames that are to be used.
    what : str
        For the message: what waits, such as ``"Training"``.

    Raises
    ------
    DatasetError
        If one of them is held.
    """
    wanted = set(ids)
    unseen = {screen: sum(i in wanted for i in found) for screen, found in unseen_screens(study).items()}
    if held := [screen for screen, n in unseen.items() if n]:
        raise DatasetError(
            f"{what} waits: nobody has looked at the pictures of {listed(held)} "
            f"({counted(sum(unseen.values()), 'frame')}) for burned-in names and dates.",
            "Look at them: `napari-cln check FOLDER --pictures DIR`, then --seen-by READER.",
        )
    if waiting := wanted & waiting_frames(study).keys():
        raise DatasetError(
            f"{what} waits: text was found on {counted(len(waiting), 'frame')} that nobody has looked at "
            f"({listed(sorted(waiting))}).",
            LOOK_AT_TEXT,
        )


def contact_sheet(study: TrainingFolder, ids: Sequence[str]) -> NDArray[np.uint8]:
    """Stored images side by side, at their own size: at most twenty, spread evenly.

    Images that can't be read are left out; ``check`` names them.

    Parameters
    ----------
    study : TrainingFolder
    ids : sequence of str
        At least one.

    Returns
    -------
    ndarray of uint8, shape (H, W)

    Raises
    ------
    DatasetError
        If not one of the images can be read.
    """
    chosen = [ids[i] for i in np.unique(np.linspace(0, len(ids) - 1, N_SHOWN).astype(int))]
    images, failure = [], DatasetError("There is no picture to look at.")
    for case_id in chosen:
        try:
            images.append(study.read_image(study.case(case_id)))
        except DatasetError as cause:
            failure = cause
    if not images:
        raise failure
    across = min(N_ACROSS, len(images))
    rows, columns = (max(image.shape[axis] for image in images) + GAP for axis in (0, 1))
    sheet = np.zeros((rows * ceil(len(images) / across), columns * across), dtype=np.uint8)
    for i, image in enumerate(images):
        row, column = rows * (i // across), columns * (i % across)
        sheet[row : row + image.shape[0], column : column + image.shape[1]] = image
    return sheet


def write_sheets(
    study: TrainingFolder, screens: Mapping[str, Sequence[str]], dest: Path
) -> Iterator[tuple[str, Path]]:
    """Write a contact sheet of each kind of screen; kinds of few frames share one.

    Parameters
    ----------
    study : TrainingFolder
    screens : mapping of str to sequence of str
        From :func:`unseen_screens`.
    dest : Path
        Folder, made when missing.

    Yields
    ------
    (str, Path)
        Kind of screen, and its file.

    Raises
    ------
    ExportError
        If they can't be written there.
    DatasetError
        As :func:`contact_sheet`.
    """
    try:
        dest.mkdir(parents=True, exist_ok=True)
        for name, together in _sheets(screens):
            path = dest / f"{name}.png"
            write_atomically(
                path, encode_png(contact_sheet(study, [i for s in together for i in screens[s]]))
            )
            _note_shown(study, {screen: _digest(screens[screen]) for screen in together})
            for screen in together:
                yield screen, path
    except OSError as cause:
        raise _not_there(dest, cause) from cause


def write_waiting(study: TrainingFolder, dest: Path) -> Iterator[tuple[str, Path]]:
    """Write the pictures on which text was found that nobody has looked at, its places framed.

    Parameters
    ----------
    study : TrainingFolder
    dest : Path
        Folder, made when missing.

    Yields
    ------
    (str, Path)
        Id of the frame, and its file.

    Raises
    ------
    ExportError
        If they can't be written there.
    """
    try:
        for case_id, reading in waiting_frames(study).items():
            dest.mkdir(parents=True, exist_ok=True)
            path = dest / f"text-{case_id}.png"
            write_atomically(path, encode_png(marked_picture(study, case_id, reading)))
            _note_shown(study, {f"text {case_id}": _digest([study.record(case_id).image.sha256])})
            yield case_id, path
    except OSError as cause:
        raise _not_there(dest, cause) from cause


def was_shown(study: TrainingFolder, case_id: str) -> bool:
    """Tell whether a frame's picture was written by :func:`write_waiting`, and is the same still.

    Parameters
    ----------
    study : TrainingFolder
    case_id : str
    """
    return _read_shown(study).get(f"text {case_id}") == _digest([study.record(case_id).image.sha256])


def _not_there(dest: Path, cause: OSError) -> ExportError:
    return ExportError(
        f"The pictures can't be written to {dest.name} ({cause.strerror}). Choose a folder where you may "
        "write, with free space."
    )


def _sheets(screens: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, list[str]]]:
    """Names of sheets and the kinds on each: all frames of kinds that share one, or a kind by itself."""
    small: list[list[str]] = [[]]
    for screen, ids in screens.items():
        if len(ids) >= N_SHOWN // 2 or len(screens) == 1:
            yield re.sub("[^a-z0-9]+", "-", screen.casefold()), [screen]
            continue
        if sum(len(screens[other]) for other in small[-1]) + len(ids) > N_SHOWN:
            small.append([])
        small[-1].append(screen)
    for number, together in enumerate(filter(None, small), start=1):
        yield f"several-kinds-{number:03d}", together


def shown_screens(study: TrainingFolder, unseen: Mapping[str, Sequence[str]]) -> list[str]:
    """Kinds of screen whose pictures were written for somebody to look at, none of their frames coming later.

    Parameters
    ----------
    study : TrainingFolder
    unseen : mapping of str to sequence of str
        From :func:`unseen_screens`. A kind that got frames since its pictures were written is left out.

    Returns
    -------
    list of str
    """
    shown = _read_shown(study)
    return [screen for screen, ids in unseen.items() if shown.get(screen) == _digest(ids)]


def _note_shown(study: TrainingFolder, shown: Mapping[str, str]) -> None:
    whole = _read_shown(study) | dict(shown)
    with suppress(OSError):  # a folder that can't be written to can't be confirmed either
        study.layout.private.mkdir(exist_ok=True)
        write_atomically(study.layout.private / SHOWN_FILE, json.dumps(whole, ensure_ascii=False).encode())


def _read_shown(study: TrainingFolder) -> dict[str, str]:
    try:
        known = read_json(study.layout.private / SHOWN_FILE)
    except (OSError, DatasetError):
        return {}
    return {screen: digest for screen, digest in known.items() if isinstance(digest, str)}


def _digest(ids: Sequence[str]) -> str:
    return hashlib.sha256(" ".join(sorted(ids)).encode()).hexdigest()


def confirm_screens(study: TrainingFolder, screens: Iterable[str], who: str) -> None:
    """Note that a person has looked at pictures of these kinds of screen, and that no name showed.

    Parameters
    ----------
    study : TrainingFolder
    screens : iterable of str
        Kinds, from :func:`unseen_screens`.
    who : str
        The person who looked.

    Raises
    ------
    DatasetError
        If the folder is open for reading only, or can't be written to.
    """
    if study.dataset.read_only:
        raise DatasetError(f"{study.path.name} is open for reading only. Update napari-cln.")
    try:
        with lock(study.layout.locks, "dataset", who):
            description = Description.read(study.layout.dataset)
            seen = description.ours.screens | {screen: Seen(who, now()) for screen in screens}
            ours = msgspec.structs.replace(description.ours, screens=seen)
            msgspec.structs.replace(description, ours=ours).write(study.layout.dataset)
    except OSError as cause:
        raise study.dataset.refused(cause) from cause
