"""The common part of every open file."""

from __future__ import annotations

import operator
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import FrameReadError, counted
from ..types import Frame
from .limits import reading

UNEVEN = 0.1
"""Part of the mean step by which one may be off: files round to milliseconds."""


def even_step(times_s: Sequence[float]) -> float | None:
    """Seconds between frames; None where their steps differ, or there are none."""
    steps = np.diff(times_s)
    mean = float(steps.mean()) if steps.size else 0.0
    return mean if mean > 0 and (np.abs(steps - mean) <= UNEVEN * mean).all() else None


class FrameSource(ABC):
    """A file that is open for reading frame by frame.

    Frames are decoded when asked for, and a lock lets several threads ask. ``source[i]``
    is a :class:`~napari_cln.Frame`; iterating streams all of them.

    Attributes
    ----------
    path : Path
    n_frames : int
        Frames that can be asked for.
    shape : (int, int)
        Rows and columns, the same for every frame.
    is_rgb : bool
        Whether ``pixels`` is (H, W, 3) or (H, W), the same for every frame.
    warnings : tuple of str
        Sentences for the user that hold for the whole file.
    orientation : int
        How the file stores the picture, as EXIF numbers it: 1 upright (also where the file says
        nothing), 2 to 8 turned or mirrored. ``pixels`` is upright always, so a mask that was drawn
        on the stored pixels must be turned by :func:`napari_cln.io.depth.upright`.
    """

    n_frames: int
    shape: tuple[int, int]
    is_rgb: bool
    orientation: int = 1

    def __init__(self, path: Path) -> None:
        self.path = path
        self.warnings: tuple[str, ...] = ()
        self._lock = threading.Lock()

    @abstractmethod
    def _read(self, index: int) -> Frame:
        """Decode frame `index`, which lies in ``range(n_frames)``."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the file. Frames that were read stay good."""

    def __del__(self) -> None:
        # A window keeps a source as long as its layers do, and nobody tells when the last has gone.
        with suppress(AttributeError):  # opening it failed half-way
            self.close()

    def __len__(self) -> int:
        return self.n_frames

    def __getitem__(self, index: int) -> Frame:
        """Frame `index`; negative counts from the end.

        Raises
        ------
        FrameReadError
            If the frame is damaged.
        IndexError
            If there is no such frame.
        """
        number = operator.index(index)
        position = number + self.n_frames if number < 0 else number
        if not 0 <= position < self.n_frames:
            raise IndexError(
                f"{self.path.name} has {counted(self.n_frames, 'frame')}; number {number + 1} was asked for."
            )
        what = (
            "a whole picture" if self.n_frames == 1 else f"whole at frame {position + 1} of {self.n_frames}"
        )
        with self._lock, reading(self.path, what):
            return self._read(position)

    def _whole_ones(self, samples: Callable[[int], NDArray[Any]]) -> Iterator[NDArray[Any]]:
        """Stored values of one frame after the other; damaged ones are passed over, unless all are."""
        damage, n_whole = None, 0
        for index in range(self.n_frames):
            try:
                with reading(self.path):
                    values = samples(index)
            except FrameReadError as cause:
                damage = damage or cause
                continue
            n_whole += 1
            yield values
        if damage is not None and not n_whole:
            raise damage

    def __iter__(self) -> Iterator[Frame]:
        return (self[index] for index in range(self.n_frames))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
