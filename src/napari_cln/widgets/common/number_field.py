"""A field for one number, the same in every dock and on every desktop."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QKeyEvent, QValidator, QWheelEvent
from qtpy.QtWidgets import QAbstractSpinBox, QWidget

from ...disk.cells import parse_number
from ...errors import InputError
from .parts import MessageLine, Signal

MARKED = "NumberField { border: 2px solid #ff6b5e; }"
LARGEST_WHOLE = 2**31 - 1


class NumberField(QAbstractSpinBox):
    """One number, typed with a point or a comma as the decimal sign whatever the desktop's language.

    It is shown with a point. What is not one number, or out of its limits, is refused with a sentence:
    the text stays, marked, and :meth:`value` is still the number that was taken last. Nothing is
    clamped or rounded. The wheel scrolls past.

    Parameters
    ----------
    parent : QWidget, optional
    title : str
        What the number is; begins the sentence of a refusal.
    limits : (float, float)
        The lowest and the highest number, both taken.
    value : float, optional
    step : float
        What the arrows add.
    suffix : str
        Unit, shown behind the number; it may be typed, and need not.
    whole : bool
        Whether only whole numbers are taken.
    none : str, optional
        What an empty field stands for. Where it is left out, an empty field is refused.
    """

    valueChanged = Signal(object)  # another number was taken; None for an emptied field
    refused = Signal(str)  # a sentence
    settled = Signal()  # what stands in the field is a number, or rightly empty

    def __init__(
        self,
        parent: QWidget | None = None,
        *,
        title: str = "",
        limits: tuple[float, float] = (-math.inf, math.inf),
        value: float | None = None,
        step: float = 1,
        suffix: str = "",
        whole: bool = False,
        none: str | None = None,
    ) -> None:
        super().__init__(parent)
        self.title, self.suffix, self.whole, self.none = title, suffix, whole, none
        self._limits, self._step = limits, step
        self._value: float | None = None
        self._problem = ""
        self._tip = ""
        self.setKeyboardTracking(False)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.lineEdit().setPlaceholderText(none or "")
        self.editingFinished.connect(self._take_text)
        if value is not None:
            self.setValue(value)

    # ------------------------------------------------------------ the number

    def value(self) -> Any:
        """Return the number that was taken last; None where the field was left empty."""
        if self._value is None:
            return None if self.none is not None else 0
        return int(self._value) if self.whole else self._value

    def number(self) -> Any:
        """Return the number that stands in the field now, for an action that needs it.

        Raises
        ------
        InputError
            If the field holds a text that can't be taken.
        """
        self._take_text()
        if self._problem:
            raise InputError(self._problem)
        return self.value()

    def setValue(self, value: float | None) -> None:  # Qt's name
        """Show a number; one that can't be taken is refused as if it were typed."""
        self._take("" if value is None else _written(value))

    @property
    def is_refused(self) -> bool:
        """True while the field shows a text that was not taken."""
        return bool(self._problem)

    # ------------------------------------------------------------ limits and steps

    def minimum(self) -> float:
        """Return the lowest number that is taken."""
        return self._limits[0]

    def maximum(self) -> float:
        """Return the highest number that is taken."""
        return self._limits[1]

    def setMinimum(self, minimum: float) -> None:  # Qt's name
        """Take no lower number from now on."""
        self._limits = (minimum, self._limits[1])

    def setMaximum(self, maximum: float) -> None:  # Qt's name
        """Take no higher number from now on."""
        self._limits = (self._limits[0], maximum)

    def setRange(self, minimum: float, maximum: float) -> None:  # Qt's name
        """Take no other numbers from now on; the one that is shown stays."""
        self._limits = (minimum, maximum)

    def singleStep(self) -> float:
        """Return what the arrows add."""
        return self._step

    def setSingleStep(self, step: float) -> None:  # Qt's name
        """Let the arrows add another number."""
        self._step = step

    # ------------------------------------------------------------ Qt

    def stepBy(self, steps: int) -> None:  # Qt's name
        """Add steps, or do nothing where the limits would be passed."""
        self._take_text()
        start = self._value
        if start is None:
            start = min(max(0.0, self._limits[0]), self._limits[1]) - steps * self._step
        # Ten digits below the step: 0.1 + 0.2 is 0.3 here.
        moved = round(start + steps * self._step, 10 - math.floor(math.log10(abs(self._step) or 1)))
        if not self._problem and self._limits[0] <= moved <= self._limits[1]:
            self._take(_written(moved))

    def stepEnabled(self) -> QAbstractSpinBox.StepEnabledFlag:  # Qt's name
        """Offer both arrows, as long as there is a number."""
        if self.isReadOnly() or self._problem:
            return QAbstractSpinBox.StepEnabledFlag.StepNone
        flags = QAbstractSpinBox.StepEnabledFlag
        return flags.StepUpEnabled | flags.StepDownEnabled

    def validate(self, text: str, position: int) -> tuple[QValidator.State, str, int]:  # Qt's name
        """Let anything be typed: it is judged when it is finished, with a reason."""
        return QValidator.State.Acceptable, text, position

    def setToolTip(self, tip: str) -> None:  # Qt's name
        """Say what the number is for; a refusal stands there as long as it lasts."""
        self._tip = tip
        super().setToolTip(self._problem or tip)

    def wheelEvent(self, event: QWheelEvent) -> None:  # Qt's name
        event.ignore()

    def keyPressEvent(self, event: QKeyEvent) -> None:  # Qt's name
        if event.key() == Qt.Key.Key_Escape:
            self._show(None if self._value is None else _written(self._value))
            event.accept()
            return
        super().keyPressEvent(event)

    def sizeHint(self) -> QSize:  # Qt's name
        width = self.fontMetrics().horizontalAdvance(f"00000{self.suffix or self.none or ''}") + 40
        return QSize(width, super().sizeHint().height())

    def minimumSizeHint(self) -> QSize:  # Qt's name
        return self.sizeHint()

    # ------------------------------------------------------------ what was typed

    def _take_text(self) -> None:
        text = self.lineEdit().text()
        if self._problem or text != self._shown(self._value):
            self._take(text)

    def _take(self, text: str) -> None:
        bare = text.strip()
        if self.suffix and bare.endswith(self.suffix.strip()):
            bare = bare.removesuffix(self.suffix.strip()).rstrip()
        try:
            value = self._judged(bare)
        except ValueError as cause:
            self._refuse(text, f"{self.title}: {cause}" if self.title else str(cause))
            return
        changed, self._value = value != self._value, value
        self._show(None if value is None else _written(value))
        if changed:
            self.valueChanged.emit(self.value())

    def _judged(self, text: str) -> float | None:
        if not text:
            if self.none is None:
                raise ValueError("The field is empty. Type a number.")
            return None
        value = parse_number(text)
        if self.whole and not value.is_integer():
            raise ValueError(f"{text} is not a whole number.")
        low, high = self._limits
        if not low <= value <= high:
            limits = (
                f"at most {_written(high)}"
                if math.isinf(low)
                else f"at least {_written(low)}"
                if math.isinf(high)
                else f"{_written(low)} to {_written(high)}"
            )
            raise ValueError(f"{text} is out of range. Give {limits}{self.suffix}.")
        return value

    def _show(self, number: str | None) -> None:
        self._problem = ""
        self.lineEdit().setText("" if number is None else f"{number}{self.suffix}")
        self._mark()
        self.settled.emit()

    def _refuse(self, text: str, problem: str) -> None:
        self._problem = problem
        self.lineEdit().setText(text)
        self._mark()
        self.refused.emit(problem)

    def _mark(self) -> None:
        style = MARKED if self._problem else ""
        if style != self.styleSheet():
            self.setStyleSheet(style)
        super().setToolTip(self._problem or self._tip)

    def _shown(self, value: float | None) -> str:
        return "" if value is None else f"{_written(value)}{self.suffix}"


def _written(value: float) -> str:
    """Digits of a number with a point, as few as say it exactly."""
    return str(np.format_float_positional(float(value), trim="-"))


def check_numbers(form: QWidget) -> None:
    """Take what stands in the number fields of a form.

    Raises
    ------
    InputError
        If one of them holds a text that can't be taken.
    """
    for field in form.findChildren(NumberField):
        field.number()


def tell_refusals(view: QWidget, message: MessageLine) -> None:
    """Say on a message line what the number fields of a view refuse, for as long as it stands there."""
    for field in view.findChildren(NumberField):
        field.refused.connect(partial(message.say, mood="bad", about=field))
        field.settled.connect(partial(message.forget, field))
