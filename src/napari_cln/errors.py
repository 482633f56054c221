"""Errors that a user may meet, all caught by one ``except ClnError``.

::

    ClnError
    ├── FrameReadError      a file is not a readable ultrasound frame
    │   └── TooLargeError   it holds more than a picture does
    ├── DatasetError        a training folder, or a case in it, is not as it must be
    │   ├── ConflictError   another reader changed the case meanwhile
    │   └── SplitError      no split by patient can be made from these cases
    ├── WeightsError        a model file or its card is damaged, unknown or does not fit
    ├── PredictionError     a network gave a number that is not finite for a frame
    ├── DeviceError         the computing device asked for is not there, or is too small
    ├── RunError            a training or batch run can't start or go on
    ├── InputError          what was typed or drawn can't be taken
    └── ExportError         a result can't be written

Each message says what is wrong, with the value, then what to do; the cause rides on
``raise … from``.
"""

from collections.abc import Iterable
from typing import TypeAlias

__all__ = [
    "ClnError",
    "ConflictError",
    "DatasetError",
    "DeviceError",
    "ExportError",
    "FrameError",
    "FrameReadError",
    "InputError",
    "PredictionError",
    "RunError",
    "SplitError",
    "TooLargeError",
    "WeightsError",
    "counted",
    "listed",
]


def counted(n: int, one: str, many: str = "") -> str:
    """A number of things for a message: "1 frame", "2 frames"; ``many`` where they are no "…s"."""
    return f"{n} {one if n == 1 else many or f'{one}s'}"


def listed(names: Iterable[object], most: int = 3) -> str:
    """The first few of some names for a message, and how many more there are."""
    texts = [str(name) for name in names]
    more = len(texts) - most
    return ", ".join(texts[:most]) + (f" and {more} more" if more > 0 else "")


class ClnError(Exception):
    """Any error whose message is written for the user.

    Parameters
    ----------
    message : str
        What is wrong, with the value; and what to do, where ``advice`` is empty.
    advice : str
        What to do.
    """

    def __init__(self, message: str = "", advice: str = "") -> None:
        super().__init__(f"{message} {advice}" if advice else message)
        self.message, self.advice = message, advice


class FrameReadError(ClnError):
    """A file is not a readable ultrasound frame."""


class TooLargeError(FrameReadError):
    """A file holds, or unpacks to, more than a picture does."""


class DatasetError(ClnError):
    """A training folder, or a case in it, is not as it must be."""


class ConflictError(DatasetError):
    """Another reader changed the case after this one opened it."""


class SplitError(DatasetError):
    """No split by patient can be made from these cases."""


class WeightsError(ClnError):
    """A model file or its card is damaged, unknown or does not fit."""


class PredictionError(ClnError):
    """A network gave a number that is not finite for a frame, which so has no mask and no score."""


class DeviceError(ClnError):
    """The computing device asked for is not there, or is too small."""


class RunError(ClnError):
    """A training or batch run can't start or go on."""


class InputError(ClnError):
    """Text typed into a field, or axes drawn on a frame, that can't be taken."""


class ExportError(ClnError):
    """A result can't be written."""


FrameError: TypeAlias = FrameReadError | PredictionError
"""What may stand in a frame's place where many are predicted: the others go on."""
