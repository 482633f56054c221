"""Correct docks that are opened in a viewer one after the other: the last one corrects."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from qtpy.QtCore import QObject

from ..common.workplace import Workplace


class Turn(QObject):
    """The turn of one dock: it ends where the dock was closed and another one is opened.

    Else both would save each stroke, for napari keeps a dock that is closed.

    Parameters
    ----------
    dock : QObject
    place : Workplace
    end : callable
        Saves what there is, and stops.

    Attributes
    ----------
    is_closed : bool
        Whether the dock was taken out of its window.
    """

    def __init__(self, dock: QObject, place: Workplace, end: Callable[[], None]) -> None:
        super().__init__(dock)
        self.is_closed = False
        self._place, self._end = place, end
        place.corrected.connect(self._make_room)

    def begin(self, **deeds: Callable[..., Any]) -> None:
        """Be the dock that corrects, which opens and describes for the others; see :class:`Workplace`."""
        for name, deed in deeds.items():
            setattr(self._place, name, deed)
            owner: Any = getattr(deed, "__self__", None)
            self.destroyed.connect(partial(_withdraw, self._place, name, id(owner)))
        self._place.corrected.emit(self)

    def _make_room(self, turn: object) -> None:
        if turn is not self and self.is_closed:
            self._place.corrected.disconnect(self._make_room)
            self._end()


def _withdraw(place: Workplace, name: str, owner: int) -> None:
    if id(getattr(getattr(place, name), "__self__", None)) == owner:
        setattr(place, name, None)
