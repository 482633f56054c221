"""Errors that a user may meet, all caught by one ``except ClnError``.

::

    ClnError
    ├── FrameReadError      a file is not a readable ultrasound frame
    ├── DatasetError        a training folder, or a case in it, is not as it must be
    │   ├── ConflictError   another reader changed the case meanwhile
    │   └── SplitError      no split by patient can be made from these cases
    ├── WeightsError        a model file or its card is damaged, unknown or does not fit
    ├── DeviceError         the computing device asked for is not there, or is too small
    ├── RunError            a training or batch run can't start or go on
    ├── InputError          what was typed into a field can't be taken
    └── ExportError         a result can't be written

Each message says what is wrong, with the value, then what to do; the cause rides on
``raise … from``.
"""

__all__ = [
    "ClnError",
    "ConflictError",
    "DatasetError",
    "DeviceError",
    "ExportError",
    "FrameReadError",
    "InputError",
    "RunError",
    "SplitError",
    "WeightsError",
]


class ClnError(Exception):
    """Any error whose message is written for the user."""


class FrameReadError(ClnError):
    """A file is not a readable ultrasound frame."""


class DatasetError(ClnError):
    """A training folder, or a case in it, is not as it must be."""


class ConflictError(DatasetError):
    """Another reader changed the case after this one opened it."""


class SplitError(DatasetError):
    """No split by patient can be made from these cases."""


class WeightsError(ClnError):
    """A model file or its card is damaged, unknown or does not fit."""


class DeviceError(ClnError):
    """The computing device asked for is not there, or is too small."""


class RunError(ClnError):
    """A training or batch run can't start or go on."""


class InputError(ClnError):
    """What was typed into a field can't be taken."""


class ExportError(ClnError):
    """A result can't be written."""
