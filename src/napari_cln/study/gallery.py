"""The best, median and worst frames with both outlines (the paper's Figure 2)."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ..annotation import Annotation, Case
from ..errors import DatasetError
from ..imaging.overlay import read_marks, tissue_of
from ..imaging.scan_area import find_scan_area
from ..io.sources import read_frame
from ..types import Box, Frame, Prediction


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    """A frame that may be shown: where to read it, and where its masks lie in the gallery's file."""

    id: str
    dice: float
    truth: str
    score: float
    origin: Path | None
    index: int
    scan_area: Box | None
    shape: tuple[int, int]
    reference: tuple[int, int]
    predicted: tuple[int, int]
    pixels: tuple[int, int] | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """A frame of the gallery, cropped to its scan area.

    Parameters
    ----------
    place : str
        ``"best"``, ``"median"`` or ``"worst"``.
    id : str
    dice, score : float
    truth : str
        Of the frame; ``"no node"`` where the reader says there is none.
    image : ndarray of uint8, shape (h, w)
    reference, predicted : ndarray of bool, shape (h, w)
    """

    place: str
    id: str
    dice: float
    truth: str
    score: float
    image: NDArray[np.uint8]
    reference: NDArray[np.bool_]
    predicted: NDArray[np.bool_]


class Gallery:
    """Frames that may be shown. Which ones is known at the end, so the masks of all wait in a file.

    Memory grows by an entry a frame, and not by its pixels; the file goes when the gallery is closed.
    """

    def __init__(self) -> None:
        self._candidates: list[_Candidate] = []
        with _disk():
            self._file = TemporaryFile()  # noqa: SIM115  # closed by __exit__

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(
        self,
        truth: Case | Annotation,
        prediction: Prediction,
        instances: NDArray[np.uint8],
        case_id: str,
        dice: float,
    ) -> None:
        """Keep what is needed to show a frame later; its pixels only where no file has them."""
        origin: Path | None
        if isinstance(truth, Case):
            origin, index, label, frame = truth.image, 0, truth.truth, None
        else:
            frame, label = truth.frame, truth.label
            origin, index = frame.source, frame.index
        self._candidates.append(
            _Candidate(
                id=case_id,
                dice=dice,
                truth=label if instances.any() else "no node",
                score=prediction.malignancy,
                origin=origin,
                index=index,
                scan_area=frame.scan_area if frame is not None else None,
                shape=instances.shape,
                reference=self._put(np.packbits(instances > 0)),
                predicted=self._put(np.packbits(prediction.mask)),
                pixels=self._put(frame.grey) if frame is not None and origin is None else None,
            )
        )

    def pick(self, n: int = 3) -> tuple[Picture, ...]:
        """The ``n`` best, median and worst frames by Dice; fewer of each where frames are few."""
        ranked = sorted(self._candidates, key=lambda c: (-c.dice, c.id))
        n = min(n, max(len(ranked) // 3, 1))
        middle = max((len(ranked) - n) // 2, 0)
        places = (("best", 0), ("median", middle), ("worst", max(len(ranked) - n, 0)))
        shown: dict[str, Picture] = {}
        for place, start in places:
            for chosen in ranked[start : start + n]:
                if chosen.id not in shown:
                    shown[chosen.id] = self._picture(place, chosen)
        return tuple(shown.values())

    def _picture(self, place: str, chosen: _Candidate) -> Picture:
        if chosen.pixels is not None:
            pixels = self._take(chosen.pixels).reshape(chosen.shape)
            frame = Frame(pixels=pixels, scan_area=chosen.scan_area)
        else:
            assert chosen.origin is not None
            frame = read_frame(chosen.origin, chosen.index)
        row0, column0, row1, column1 = chosen.scan_area or frame.scan_area or find_scan_area(frame)
        # The screen around the scan area, and letters on it, may name the patient.
        marks = read_marks(frame)
        clean = tissue_of(frame, np.s_[:, :], marks.overlay, marks)
        part = slice(row0, row1), slice(column0, column1)
        return Picture(
            place=place,
            id=chosen.id,
            dice=chosen.dice,
            truth=chosen.truth,
            score=chosen.score,
            image=clean[part],
            reference=self._mask(chosen.reference, chosen.shape)[part],
            predicted=self._mask(chosen.predicted, chosen.shape)[part],
        )

    def _mask(self, place: tuple[int, int], shape: tuple[int, int]) -> NDArray[np.bool_]:
        return np.unpackbits(self._take(place), count=shape[0] * shape[1]).reshape(shape).astype(bool)

    def _put(self, values: NDArray[np.uint8]) -> tuple[int, int]:
        packed = zlib.compress(np.ascontiguousarray(values).tobytes(), 1)
        with _disk():
            start = self._file.seek(0, 2)
            self._file.write(packed)
        return start, len(packed)

    def _take(self, place: tuple[int, int]) -> NDArray[np.uint8]:
        start, length = place
        self._file.seek(start)
        return np.frombuffer(zlib.decompress(self._file.read(length)), dtype=np.uint8)


@contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except OSError as cause:
        raise DatasetError(
            f"The outlines can't be kept for the gallery ({cause.strerror}). Free some space in the "
            "folder for temporary files, and evaluate again."
        ) from cause
