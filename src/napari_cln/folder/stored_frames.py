"""Frames as a training folder stores them: with what their record says of scan area and marks.

A stored picture was cut, and its marks were painted over, when it was saved. Who looks for them again finds
others: a scan area without its dark rows, a bright fascia that looks like a stroke.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ..errors import DatasetError
from ..types import Case, Frame
from .dataset import TrainingFolder, read_record
from .layout import Layout
from .pictures import hash_pixels
from .record import Record

__all__ = ["as_recorded", "home_of", "read_stored_frame"]

_IMAGE = re.compile(r"([0-9a-f]{16})_0000\.png")


def read_stored_frame(study: TrainingFolder, case: Case) -> Frame:
    """Read a frame of a training folder, ready to be shown and segmented as it was first.

    Parameters
    ----------
    study : TrainingFolder
    case : Case

    Raises
    ------
    DatasetError
        If a file is damaged or missing.
    """
    record = study.record(case.id)
    return Frame(
        pixels=study.read_image(case),
        spacing_mm=case.spacing_mm,
        spacing_source=record.spacing_source,
        source=case.image,
        vendor=case.vendor,
        scan_area=record.source.stored_area,
        is_clean=record.source.is_painted,
        channels=study.read_channels(case),
    )


def as_recorded(frame: Frame) -> Frame:
    """Return a frame whose file is a picture of a training folder with what its record says of it.

    Any other frame is returned as it is, and so is one whose record can't be read or is of other pixels. A
    scan area that the frame has goes before that of the record.

    Parameters
    ----------
    frame : Frame
    """
    if frame.is_clean or (found := _record_of(frame.source)) is None:
        return frame
    if found.image.sha256 != hash_pixels(frame.grey):
        return frame
    area = frame.scan_area if frame.scan_area is not None else found.source.stored_area
    return replace(frame, scan_area=area, is_clean=found.source.is_painted)


def home_of(path: Path | None) -> Path | None:
    """Return the training folder in which a picture of a frame lies; None for another file.

    Parameters
    ----------
    path : Path or None
    """
    if path is None or (name := _IMAGE.fullmatch(path.name)) is None:
        return None
    layout = Layout(path.parent.parent)
    is_inside = path.parent in (layout.images, layout.unmasked) and layout.record(name[1]).exists()
    return layout.root if is_inside else None


def _record_of(path: Path | None) -> Record | None:
    """The record of a picture of a training folder; None for another file."""
    if path is None or (home := home_of(path)) is None:
        return None
    case_id = path.name[:16]
    with suppress(DatasetError):  # `napari-cln check` names what is wrong with it
        return read_record(Layout(home).record(case_id), case_id)
    return None
