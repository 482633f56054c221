"""Colours of the docks, taken from napari's theme, such that every text can be read on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari.utils.theme import get_theme
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QWidget

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from napari.components import ViewerModel

ACCENT = "#3d6fd6"
"""Ground of what is pressed most, and frame of what is chosen."""
CONTRAST = 4.5
"""Least contrast of a text with its background (WCAG 2.2, 1.4.3)."""


@dataclass(frozen=True, kw_only=True)
class ThemeColours:
    """Colours as ``#rrggbb``: of the theme, or made lighter or darker until they can be read on it."""

    background: str
    foreground: str
    text: str
    quiet: str
    good: str
    bad: str
    malignant: str
    benign: str
    painted: str

    def readable(self, colour: str) -> str:
        """Return a colour, lighter or darker where it could not be read on the background."""
        return _readable(colour, self.background)


def colours_of(viewer: ViewerModel) -> ThemeColours:
    """Return the colours of the viewer's theme."""
    theme = get_theme(str(viewer.theme))
    background, text = (QColor(colour.as_hex()).name() for colour in (theme.background, theme.text))
    return ThemeColours(
        background=background,
        foreground=QColor(theme.foreground.as_hex()).name(),
        text=text,
        quiet=_readable(_mixed(background, text, 0.6), background),
        good=_readable("#3fc79a", background),
        bad=_readable("#ff6b5e", background),
        malignant=_readable("#e69f00", background),
        benign=_readable("#56c4a5", background),
        painted=_readable("#f0e442", background),
    )


def style_of(colours: ThemeColours) -> str:
    """Return the style sheet of a dock; :func:`set_role` says which of its rules a widget follows."""
    moods = "".join(f'QLabel[role="{mood}"] {{ color: {getattr(colours, mood)}; }}' for mood in MOODS)
    return (
        f"{moods}"
        f'QLabel[role="info"] {{ color: {colours.text}; }}'
        f'QLabel[role="quiet"] {{ color: {colours.quiet}; font-size: 11px; }}'
        f'QLabel[role="warning"] {{ color: {colours.bad}; font-size: 11px; }}'
        "MessageLine { padding: 6px 8px; }"
        f'QPushButton[role="primary"] {{ background: {ACCENT}; color: white; }}'
        'QPushButton[role="primary"] { padding: 7px; font-weight: 600; }'
        'QPushButton[role="primary"]:hover { background: #4f80e6; }'
        'QPushButton[role="primary"]:disabled '
        f"{{ background: {colours.foreground}; color: {colours.quiet}; }}"
    )


MOODS = ("good", "bad", "malignant", "benign")


def set_role(widget: QWidget, role: str) -> None:
    """Let a widget follow the rule of the dock's style for this role, such as ``"bad"``."""
    if widget.property("role") != role:  # Qt takes some milliseconds to apply one
        widget.setProperty("role", role)
        widget.style().unpolish(widget)
        widget.style().polish(widget)


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, 1 to 21 (WCAG 2.2, relative luminance)."""
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    shares = (
        share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in _rgb(colour)
    )
    return sum(weight * share for weight, share in zip((0.2126, 0.7152, 0.0722), shares, strict=True))


def _readable(colour: str, background: str) -> str:
    far = "#ffffff" if _luminance(background) < 0.18 else "#000000"
    mixed = (_mixed(colour, far, step / 20) for step in range(21))
    return next(one for one in mixed if contrast(one, background) >= CONTRAST or one == far)


def _mixed(one: str, other: str, share: float) -> str:
    parts = (a + (b - a) * share for a, b in zip(_rgb(one), _rgb(other), strict=True))
    return QColor.fromRgbF(*parts).name()


def _rgb(colour: str) -> tuple[float, float, float]:
    made = QColor(colour)
    return made.redF(), made.greenF(), made.blueF()


def paint_figure(figure: Figure, colours: ThemeColours) -> None:
    """Give a figure of matplotlib, and what stands beside its axes, the colours of a theme."""
    from matplotlib.text import Text  # loaded by then: a dock without a plot opens without it

    figure.set_facecolor(colours.background)
    for axes in figure.axes:
        axes.set_facecolor(colours.background)
        axes.tick_params(colors=colours.quiet)
        for words in axes.findobj(Text):
            words.set_color(colours.quiet)
