"""A report printed: as one HTML file without anything to load, and as PDF."""

from __future__ import annotations

import io
import math
import re
import textwrap
from collections.abc import Sequence
from html import escape
from typing import Any

from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .figures import style
from .pages import Overview, Plot, ReportTable, Section, level

CSS = """
:root { color-scheme: light }
body { font: 15px/1.5 system-ui, "Segoe UI", "Noto Sans", "Microsoft YaHei", sans-serif; color: #111;
       max-width: 1080px; margin: 0 auto; padding: 24px 28px 60px; background: #fff }
h1 { font-size: 27px; line-height: 1.25; margin: 0 0 12px }
h2 { font-size: 20px; margin: 44px 0 6px; padding-top: 14px; border-top: 1px solid #bbb }
.lead { font-size: 18px; margin: 6px 0 }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; margin: 20px 0 }
.tile { flex: 1 1 max(170px, (100% - 25px) / var(--columns)); box-sizing: border-box; border: 1px solid #999;
         border-radius: 6px; padding: 10px 14px }
.tile b { display: block; font-size: 30px; line-height: 1.2; white-space: nowrap }
.tile span { display: block; font-size: 13px; color: #333 }
.notes { border-left: 4px solid #111; padding: 2px 0 2px 16px; margin: 18px 0 }
.notes li { margin: 3px 0 } .notes li:first-child { font-weight: 600 }
.notes ul { margin: 0; padding-left: 16px }
nav { font-size: 13px; margin: 14px 0 } nav a { color: #111; margin-right: 14px; white-space: nowrap }
figure { display: inline-block; margin: 10px 14px 10px 0; vertical-align: top }
figcaption, caption { font-size: 13px; color: #333; text-align: left; padding: 4px 0; caption-side: top }
.scroll { overflow-x: auto }
table { border-collapse: collapse; margin: 12px 0; font-size: 14px }
th, td { text-align: left; padding: 4px 14px 4px 0; border-bottom: 1px solid #ddd; vertical-align: top }
th { border-bottom: 1.5px solid #111; font-weight: 600 } td { font-variant-numeric: tabular-nums }
svg { max-width: 100%; height: auto }
@media print { h2 { break-after: avoid } figure, tr { break-inside: avoid } nav { display: none } }
"""


def html_page(first: Overview, sections: Sequence[Section]) -> str:
    """The whole page."""
    anchors = [f'<a href="#s{i}">{escape(section.title)}</a>' for i, section in enumerate(sections)]
    tiles = "".join(
        f'<div class="tile">{escape(tile.name)}<b>{escape(tile.value)}</b>'
        f"<span>{escape(tile.detail).replace(' · ', '<br>')}</span></div>"
        for tile in first.tiles
    )
    leads = "".join(f'<p class="lead">{escape(sentence)}</p>' for sentence in first.sentences)
    notes = "".join(f"<li>{escape(note)}</li>" for note in first.notes)
    with style():
        body = "".join(_section(i, section) for i, section in enumerate(sections))
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(first.title)}</title><style>{CSS}</style></head>\n"
        f"<body><header><h1>{escape(first.title)}</h1>{leads}"
        f'<div class="tiles" style="--columns: {_columns(len(first.tiles))}">{tiles}</div>'
        f'<div class="notes"><ul>{notes}</ul></div>'
        f"<nav>{''.join(anchors)}</nav></header>\n{body}</body></html>\n"
    )


def _columns(tiles: int) -> int:
    """Tiles beside each other, at most three, so that none is alone below the others."""
    return math.ceil(tiles / max(math.ceil(tiles / 3), 1))


def _section(number: int, section: Section) -> str:
    parts = [f'<section id="s{number}"><h2>{escape(section.title)}</h2><p>{escape(section.text)}</p>']
    parts += [_table(table) for table in section.tables]
    parts += [
        f"<figure>{svg(plot)}<figcaption>{escape(plot.caption)}</figcaption></figure>"
        for plot in section.plots
    ]
    return "".join(parts) + "</section>\n"


def _table(table: ReportTable) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in table.header)
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows
    )
    return (
        f'<div class="scroll"><table><caption>{escape(table.caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def svg(plot: Plot) -> str:
    """One plot as an inline SVG element."""
    figure = Figure(figsize=(plot.width, plot.height), layout="constrained")
    plot.draw(figure.add_subplot())
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", dpi=200, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    element = text[text.index("<svg") :]
    # Metadata says nothing here; the name of the plot does.
    element = re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
    return element.replace("<svg ", f'<svg role="img" aria-label="{escape(plot.caption)}" ', 1)


# ------------------------------------------------------------ PDF


WIDTH, HEIGHT = 8.27, 11.69
LEFT, RIGHT, TOP, BOTTOM = 0.7, 0.7, 0.7, 0.7
INNER = WIDTH - LEFT - RIGHT
LINE = 1.35
"""Line height, as a multiple of the font size."""
LOWEST = 0.72
"""Height to which plots shrink, as a part of their own, before they go to the next page."""
CAPTION = 0.3
"""Inches below a row of plots."""


class _Pages:
    """Pages that fill from the top: a cursor in inches, and a new page where a block would not fit."""

    def __init__(self, file: PdfPages) -> None:
        self.file = file
        self.page: Figure | None = None
        self.y = 0.0
        self.n = 0

    def new(self) -> None:
        self.close()
        self.page = Figure(figsize=(WIDTH, HEIGHT))
        self.y = HEIGHT - TOP
        self.n += 1
        self.write(str(self.n), WIDTH - RIGHT, BOTTOM / 2, 7, ha="right")
        self.write("napari-cln · for research, not for diagnosis", LEFT, BOTTOM / 2, 7)

    def close(self) -> None:
        if self.page is not None:
            self.file.savefig(self.page)
            self.page = None

    def need(self, height: float) -> None:
        """Start a new page unless ``height`` inches are left."""
        if self.page is None or self.y - height < BOTTOM:
            self.new()

    def write(self, text: str, x: float, y: float, size: float, **more: Any) -> None:
        assert self.page is not None
        self.page.text(x / WIDTH, y / HEIGHT, text, fontsize=size, va="baseline", **more)

    def paragraph(self, text: str, size: float = 8.5, weight: str = "normal", indent: float = 0.0) -> None:
        """Wrapped text."""
        step = size * LINE / 72
        for line in _lines(text, size, weight, indent):
            self.need(step)
            self.y -= step
            self.write(line, LEFT + indent, self.y, size, weight=weight)
        self.y -= step * 0.4

    @staticmethod
    def height_of(text: str, size: float = 8.5, weight: str = "normal") -> float:
        """Inches of a paragraph."""
        return (len(_lines(text, size, weight)) + 0.4) * size * LINE / 72

    def table(self, table: ReportTable, size: float = 7.0) -> None:
        """Columns as wide as their text, the widest ones wrapped; the header again on each page."""
        widths = _widths(table, size)
        header, *rows = (_wrapped(row, widths, size) for row in (table.header, *table.rows))
        self.need(self.start_of(table, size))
        self.paragraph(table.caption, size + 0.5, "bold")
        self._row(header, widths, size, "bold")
        for number, row in enumerate(rows, start=1):
            # no row stands alone on the last page
            last = rows[number - 1 :] if number == len(rows) - 1 else [row]
            if self.y - sum(_height(one, size) for one in last) < BOTTOM:
                self.new()
                self._row(header, widths, size, "bold")
            self._row(row, widths, size, "normal")
        self.y -= size * LINE / 72

    def start_of(self, table: ReportTable, size: float = 7.0) -> float:
        """Inches of a table that stay together: caption, header and first rows."""
        widths = _widths(table, size)
        first = (_wrapped(row, widths, size) for row in (table.header, *table.rows[:3]))
        return self.height_of(table.caption, size + 0.5, "bold") + sum(_height(row, size) for row in first)

    def _row(self, cells: list[list[str]], widths: list[float], size: float, weight: str) -> None:
        step = size * LINE / 72
        x = LEFT
        for lines, width in zip(cells, widths, strict=True):
            for i, line in enumerate(lines, start=1):
                self.write(line, x, self.y - i * step, size, weight=weight)
            x += width
        self.y -= _height(cells, size) - 0.03
        assert self.page is not None
        ends, y = (LEFT / WIDTH, 1 - RIGHT / WIDTH), self.y / HEIGHT
        thick, grey = (0.9, "#111111") if weight == "bold" else (0.4, "#bbbbbb")
        self.page.add_artist(Line2D(ends, (y, y), color=grey, lw=thick))
        self.y -= 0.03

    def plots(self, plots: Sequence[Plot]) -> None:
        """Plots side by side, as many as fit a row, and lower where that keeps them on the page."""
        rows: list[list[Plot]] = []
        for plot in plots:
            if rows and sum(p.width for p in rows[-1]) + plot.width <= INNER + 0.1:
                rows[-1].append(plot)
            else:
                rows.append([plot])
        while rows:
            heights = [max(plot.height for plot in row) for row in rows]
            self.need(LOWEST * heights[0] + CAPTION)
            room = self.y - BOTTOM
            n = 1
            while n < len(rows) and LOWEST * sum(heights[: n + 1]) + (n + 1) * CAPTION <= room:
                n += 1
            lower = min(1.0, (room - n * CAPTION) / sum(heights[:n]))
            for row, height in zip(rows[:n], heights, strict=False):
                self._row_of_plots(row, lower * height)
            rows = rows[n:]

    def _row_of_plots(self, row: Sequence[Plot], height: float) -> None:
        x = LEFT
        for plot in row:
            assert self.page is not None
            part = self.page.add_axes(
                (
                    (x + plot.left) / WIDTH,
                    (self.y - height + plot.below) / HEIGHT,
                    (plot.width - plot.left - 0.15) / WIDTH,
                    (height - plot.below - 0.35) / HEIGHT,
                )
            )
            plot.draw(part)
            self.write(plot.caption, x, self.y - height - 0.08, 7)
            x += plot.width
        self.y -= height + CAPTION


def pdf_file(first: Overview, sections: Sequence[Section], confidence: float) -> bytes:
    """All pages; without date or author, so that the same evaluation gives the same file."""
    about = {"Title": first.title, "CreationDate": None, "ModDate": None, "Creator": None, "Producer": None}
    buffer = io.BytesIO()
    with style(), PdfPages(buffer, metadata=about) as file:
        pages = _Pages(file)
        pages.new()
        pages.paragraph(first.title, 17, "bold")
        for sentence in first.sentences:
            pages.paragraph(sentence, 11)
        pages.table(
            ReportTable(
                caption="At a glance",
                header=("", "Value", f"Cases and {level(confidence)} interval over patients"),
                rows=tuple((tile.name, tile.value, tile.detail) for tile in first.tiles),
            ),
            10,
        )
        for i, note in enumerate(first.notes):
            pages.paragraph(f"• {note}", 9, "bold" if i == 0 else "normal")
        for section in sections:
            start = 0.15 + pages.height_of(section.title, 13, "bold") + pages.height_of(section.text)
            if section.tables:
                start += pages.start_of(section.tables[0])
            elif section.plots:
                start += LOWEST * section.plots[0].height + CAPTION
            pages.need(start)
            pages.y -= 0.15
            pages.paragraph(section.title, 13, "bold")
            pages.paragraph(section.text)
            for table in section.tables:
                pages.table(table)
            pages.plots(section.plots)
        pages.close()
    return buffer.getvalue()


def _lines(text: str, size: float, weight: str, indent: float = 0.0) -> list[str]:
    sign = size * (0.53 if weight == "normal" else 0.6) / 72
    return textwrap.wrap(text, int((INNER - indent) / sign))


def _height(cells: list[list[str]], size: float) -> float:
    """Inches of a row of a table."""
    return size * LINE / 72 * max(map(len, cells)) + 0.06


def _widths(table: ReportTable, size: float) -> list[float]:
    """Widths in inches; what is too wide in all is taken from the widest columns."""
    sign = size * 0.56 / 72
    widths = [
        max(len(row[i]) for row in (table.header, *table.rows)) * sign + 0.14
        for i in range(len(table.header))
    ]
    limit = max(widths)
    while sum(min(width, limit) for width in widths) > INNER:
        limit *= 0.97
    return [min(width, limit) for width in widths]


def _wrapped(cells: Sequence[str], widths: Sequence[float], size: float) -> list[list[str]]:
    sign = size * 0.56 / 72
    return [
        textwrap.wrap(cell, max(int((width - 0.1) / sign), 4)) or [""]
        for cell, width in zip(cells, widths, strict=True)
    ]
