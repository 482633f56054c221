"""The parts a report is made of, before they are printed as HTML or PDF."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Overview", "Plot", "ReportTable", "Section", "Tile"]


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A figure of the first screen."""

    name: str
    value: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class Overview:
    """The first screen."""

    title: str
    sentences: tuple[str, ...]
    tiles: tuple[Tile, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ReportTable:
    """Rows of text under a caption."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Plot:
    """A plot that draws itself into axes; sizes in inches, ``left`` for the labels of its y axis."""

    caption: str
    draw: Callable[[Axes], None]
    width: float = 3.4
    height: float = 2.9
    left: float = 0.55


@dataclass(frozen=True, kw_only=True, eq=False)
class Section:
    """A heading, a paragraph, and tables and plots."""

    title: str
    text: str
    tables: tuple[ReportTable, ...] = ()
    plots: tuple[Plot, ...] = ()
