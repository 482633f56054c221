"""Facts that the docks of one viewer share: the training folder, and the model in use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from qtpy.QtCore import QCoreApplication, QObject

from .parts import Signal

if TYPE_CHECKING:
    from napari.components import ViewerModel


class Workplace(QObject):
    """One for each viewer; docks tell it what concerns the others, however they were opened.

    Attributes
    ----------
    folder : Path, optional
        The training folder that masks are saved to.
    """

    folder_opened = Signal(object)  # the Path of the training folder that masks are saved to from now on
    model_changed = Signal(str, str)  # the name of the model in use, and of the one that was in use before

    def __init__(self) -> None:
        # Else the thread that collects a viewer as garbage would delete it.
        super().__init__(QCoreApplication.instance())
        self.folder: Path | None = None

    def open_folder(self, folder: Path) -> None:
        """Tell every dock that masks are saved to this training folder."""
        self.folder = folder
        self.folder_opened.emit(folder)


_workplaces: WeakKeyDictionary[ViewerModel, Workplace] = WeakKeyDictionary()


def workplace_of(viewer: ViewerModel) -> Workplace:
    """Return the workplace of a viewer, made when the first dock asks."""
    if viewer not in _workplaces:
        _workplaces[viewer] = Workplace()
    return _workplaces[viewer]
