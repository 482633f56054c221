"""Correct docks that are opened in a viewer one after the other: the last one corrects."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from qtpy.QtCore import QObject
from qtpy.QtWidgets import QWidget

from ..common.workplace import Workplace


class Seat(QObject):
    """The seat of one dock: another takes it that is opened after this one was closed.

    Else both would save each stroke: napari takes a dock that is closed out of its window, and keeps it.

    Parameters
    ----------
    dock : QWidget
    place : Workplace
    ends : callable
        What saves all there is, and stops.
    """

    def __init__(self, dock: QWidget, place: Workplace, *ends: Callable[[], None]) -> None:
        super().__init__(dock)
        self._dock, self._is_closed = dock, False
        self._place, self._ends = place, ends
        place.corrected.connect(self._make_room)

    def look(self) -> bool:
        """Tell whether the dock was taken out of its window."""
        self._is_closed = self._dock.parentWidget() is None
        return self._is_closed

    def take(self, **deeds: Callable[..., Any]) -> None:
        """Be the dock that corrects, which opens and describes for the others; see :class:`Workplace`."""
        for name, deed in deeds.items():
            setattr(self._place, name, deed)
            owner: Any = getattr(deed, "__self__", None)
            self.destroyed.connect(partial(_withdraw, self._place, name, id(owner)))
        self._place.corrected.emit(self)

    def _make_room(self, seat: object) -> None:
        if seat is not self and self._is_closed:
            self._place.corrected.disconnect(self._make_room)
            for end in self._ends:
                end()


def _withdraw(place: Workplace, name: str, owner: int) -> None:
    if id(getattr(getattr(place, name), "__self__", None)) == owner:
        setattr(place, name, None)
