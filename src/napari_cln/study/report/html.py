"""A report as one HTML file: text, tables and vector plots, without anything to load."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from html import escape

from matplotlib.figure import Figure

from .figures import style
from .pages import Overview, Plot, ReportTable, Section

__all__ = ["html_page", "svg"]

CSS = """
:root { color-scheme: light }
body { font: 15px/1.5 system-ui, "Segoe UI", "Noto Sans", "Microsoft YaHei", sans-serif; color: #111;
       max-width: 1080px; margin: 0 auto; padding: 24px 28px 60px; background: #fff }
h1 { font-size: 27px; line-height: 1.25; margin: 0 0 12px }
h2 { font-size: 20px; margin: 44px 0 6px; padding-top: 14px; border-top: 1px solid #bbb }
.lead { font-size: 18px; margin: 6px 0 }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; margin: 20px 0 }
.tile { flex: 1 1 170px; border: 1px solid #999; border-radius: 6px; padding: 10px 14px }
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
        f'<div class="tiles">{tiles}</div><div class="notes"><ul>{notes}</ul></div>'
        f"<nav>{''.join(anchors)}</nav></header>\n{body}</body></html>\n"
    )


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
