"""From frame to frame: of a cine, of the open images, of the training folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QSpinBox, QWidget

from ..common.dock import button

__all__ = ["Path", "Walk"]


@dataclass(frozen=True, kw_only=True)
class Path:
    """Frames in an order: how many, which one is in view (None: none of them), and how to get to one."""

    title: str
    count: Callable[[], int]
    position: Callable[[], int | None]
    go: Callable[[int], None]


class Walk(QWidget):
    """Previous, next, and a number to jump to."""

    def __init__(self, *paths: Path) -> None:
        super().__init__()
        self._paths = paths
        self.path = QComboBox()
        for path in paths:
            self.path.addItem(path.title)
        self.back = button("◀", "Previous frame: Shift+J")
        self.forward = button("▶", "Next frame: Shift+K")
        self.number = QSpinBox()
        self.number.setKeyboardTracking(False)
        self.number.setToolTip("Jump to this frame")
        self.total = QLabel()
        row = QHBoxLayout()
        row.addWidget(self.back)
        row.addWidget(self.number, stretch=1)
        row.addWidget(self.total)
        row.addWidget(self.forward)
        row.setContentsMargins(0, 0, 0, 0)
        self.setLayout(row)
        self.back.clicked.connect(lambda: self.step(-1))
        self.forward.clicked.connect(lambda: self.step(1))
        self.number.valueChanged.connect(self._jump)
        self.path.currentIndexChanged.connect(lambda _: self.refresh())
        self.refresh()

    @property
    def chosen(self) -> Path:
        return self._paths[self.path.currentIndex()]

    def step(self, by: int) -> None:
        """Go forwards or backwards; nothing happens at the ends."""
        position, n = self.chosen.position(), self.chosen.count()
        goal = (0 if by > 0 else n - 1) if position is None else position + by
        if 0 <= goal < n:
            self.chosen.go(goal)
            self.refresh()

    def refresh(self) -> None:
        """Show where the frame in view stands."""
        position, n = self.chosen.position(), self.chosen.count()
        self.number.blockSignals(True)
        self.number.setRange(0 if position is None else 1, n)
        self.number.setValue(0 if position is None else position + 1)
        self.number.blockSignals(False)
        self.total.setText(f"of {n}")
        self.back.setEnabled(n > 0 and position != 0)
        self.forward.setEnabled(n > 0 and position != n - 1)

    def _jump(self, number: int) -> None:
        if number >= 1:
            self.chosen.go(number - 1)
            self.refresh()
