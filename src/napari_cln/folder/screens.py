"""Kinds of screen whose pictures a person has looked at, for names and dates burned into them.

No method finds all text in a picture, so nothing is exported before somebody has looked at pictures
of each kind: same maker, same size. A kind that was looked at is not asked about again.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import ceil
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..disk.atomic import write_atomically
from ..disk.locks import lock
from ..errors import DatasetError, ExportError
from .dataset import TrainingFolder
from .description import Description, Seen
from .pictures import encode_png
from .record import Record, now

PIXELS_SEEN = "113101"
"""DICOM's code (PS3.16, CID 7050) for: the pixels were cleaned, and a person has looked at them."""
N_SHOWN, N_ACROSS = 20, 5
GAP = 8


def screen_of(record: Record) -> str:
    """Kind of screen that a frame shows: maker and size."""
    rows, columns = record.source.shape
    return f"{record.source.manufacturer or 'unknown maker'}, {columns}×{rows}"


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
    """Write a contact sheet of each kind of screen.

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
        for screen, ids in screens.items():
            path = dest / f"{re.sub('[^a-z0-9]+', '-', screen.casefold())}.png"
            write_atomically(path, encode_png(contact_sheet(study, ids)))
            yield screen, path
    except OSError as cause:
        raise ExportError(
            f"The pictures can't be written to {dest.name} ({cause.strerror}). Choose a folder where you may "
            "write, with free space."
        ) from cause


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
