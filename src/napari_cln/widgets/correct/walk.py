"""From frame to frame: of a cine, of the open images, of the training folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QWidget

from ..common.dock import button
from ..common.number_field import NumberField

__all__ = ["Route", "Walk"]


@dataclass(frozen=True, kw_only=True)
class Route:
    """Frames in an order: how many, which one is in view (None: none of them), and how to get to one."""

    title: str
    count: Callable[[], int]
    position: Callable[[], int | None]
    go: Callable[[int], None]


class Walk(QWidget):
    """Previous, next, and a number to jump to."""

    def __init__(self, *routes: Route) -> None:
        super().__init__()
        self._routes = routes
        self._shown: tuple[int | None, int] | None = None
        self.path = QComboBox()
        for route in routes:
            self.path.addItem(route.title)
        self.back = button("◀", "Previous frame: Shift+J")
        self.forward = button("▶", "Next frame: Shift+K")
        self.number = NumberField(title="Frame", limits=(1, 1), whole=True, none="–")
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
        self.path.currentIndexChanged.connect(lambda _: self._start_anew())
        self.refresh()

    @property
    def chosen(self) -> Route:
        return self._routes[self.path.currentIndex()]

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
        if (position, n) == self._shown:
            return  # what is being typed, or was refused, stays
        self._shown = position, n
        self.number.blockSignals(True)
        self.number.setRange(1, max(n, 1))
        self.number.setValue(None if position is None else position + 1)
        self.number.blockSignals(False)
        self.total.setText(f"of {n}")
        self.back.setEnabled(n > 0 and position != 0)
        self.forward.setEnabled(n > 0 and position != n - 1)

    def _jump(self, number: int | None) -> None:
        if number is not None and number <= self.chosen.count():
            self.chosen.go(number - 1)
        self._start_anew()

    def _start_anew(self) -> None:
        self._shown = None
        self.refresh()
