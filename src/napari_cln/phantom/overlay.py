"""Marks that a scanner burns into its screen: banner, ruler, bars, body mark, measurements.

Everything is drawn on a :class:`.screen.Screen`, which keeps the exact mask. Whether and
where something is measured does not depend on a node's class: no mark tells the truth.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..types import Box, Spacing
from .anatomy import Neck
from .machines import GREY, WHITE, Machine
from .nodes import PlacedNode
from .screen import Point, Screen, draw_calipers, draw_doppler_box, draw_text


def draw_layout(
    rng: np.random.Generator,
    screen: Screen,
    machine: Machine,
    area: Box,
    depth_mm: float,
    *,
    doppler: bool = False,
) -> None:
    """Draw what frames the image: banner, parameters, ruler, focus, bar, body mark.

    Parameters
    ----------
    rng : Generator
    screen : Screen
    machine : Machine
    area : Box
        Scan area.
    depth_mm : float
        Depth of the scan area.
    doppler : bool
        The frame is a Doppler frame, whose screen has a colour bar; others may have one.
    """
    size = screen.shape[0] * 0.021
    _draw_banner(rng, screen, machine, size)
    _draw_parameters(rng, screen, machine, area, size, depth_mm)
    _draw_ruler(rng, screen, machine, area, depth_mm, size)
    _draw_bar(screen, machine, area, colour_flow=bool(rng.random() < 0.3) or doppler, size=size)
    if rng.random() < 0.75:
        _draw_body_mark(rng, screen, machine, area)


def draw_measurements(
    rng: np.random.Generator,
    screen: Screen,
    machine: Machine,
    area: Box,
    spacing: Spacing,
    neck: Neck,
    nodes: tuple[PlacedNode, ...],
    *,
    box: Box | None = None,
) -> tuple[tuple[Point, Point], ...]:
    """Draw what a user put on the tissue: calipers on nodes, vessels or nothing, text, a Doppler box.

    Parameters
    ----------
    rng : Generator
    screen : Screen
    machine : Machine
    area : Box
        Scan area.
    spacing : (float, float)
        Millimetres per screen pixel.
    neck : Neck
    nodes : tuple of PlacedNode
    box : (int, int, int, int), optional
        Of a Doppler frame; others may show the outline of a box anywhere.

    Returns
    -------
    tuple of ((float, float), (float, float))
        Row and column of both ends of each pair of calipers, in screen pixels.
    """

    def pixel(point: NDArray[np.float64]) -> tuple[float, float]:
        return float(area[0] + point[0] / spacing[0]), float(area[1] + point[1] / spacing[1])

    unit = screen.shape[0] / 720
    ends = _measured(rng, neck, nodes)
    drawn = tuple((pixel(a), pixel(b)) for a, b in ends)
    draw_calipers(
        screen,
        drawn,
        machine.caliper,
        cross=machine.cross,
        dotted=bool(rng.random() < 0.7),
        size=float(rng.uniform(5, 8)) * unit,
    )
    size = 15 * unit
    for i, (a, b) in enumerate(ends):
        text = f"{i + 1} L {np.hypot(*(a - b)) / 10:.2f} cm"
        draw_text(
            screen, (area[2] - (1.3 * (len(ends) - i)) * size, area[1] + 6), text, machine.caliper, size
        )
    if rng.random() < 0.3:
        text = str(rng.choice(["LN", "RT III", "LEFT LEVEL IV", "TEST", "RT NECK", "LT II"]))
        at = (
            area[0] + rng.uniform(0.04, 0.9) * (area[2] - area[0]),
            area[1] + rng.uniform(0.1, 0.7) * (area[3] - area[1]),
        )
        draw_text(screen, at, text, machine.text, size * 1.1)
    if box is not None:
        draw_doppler_box(screen, box, machine.ruler)
    elif rng.random() < 0.2:
        tall, wide = (area[2] - area[0]) * rng.uniform(0.25, 0.5), (area[3] - area[1]) * rng.uniform(0.3, 0.6)
        row = area[0] + rng.uniform(0.1, 0.9) * (area[2] - area[0] - tall)
        column = area[1] + rng.uniform(0.1, 0.9) * (area[3] - area[1] - wide)
        box = int(row), int(column), int(row + tall), int(column + wide)
        draw_doppler_box(screen, box, machine.ruler, slant=float(rng.choice([0, 0, 0.04, -0.04])) * wide)
    return drawn


def _measured(
    rng: np.random.Generator, neck: Neck, nodes: tuple[PlacedNode, ...]
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Ends in mm of each line that a user measures: across some nodes, some vessels, and nothing."""
    vessels = neck.structures.get("carotid", []) + neck.structures.get("jugular", [])
    targets = [node.contour for node in nodes if rng.random() < 0.35] + [
        c for c in vessels if rng.random() < 0.1
    ]
    if rng.random() < 0.12:
        spot = rng.uniform(0.25, 0.75, 2) * (neck.tissue.depth_mm, neck.tissue.width_mm)
        targets.append(spot + rng.uniform(-6, 6, (2, 2)))
    ends = []
    for contour in targets:
        a = contour[int(np.argmin(contour[:, 1]))]
        b = contour[int(np.argmax(contour[:, 1]))]
        ends.append((a, b))
        if rng.random() < 0.5:
            ends.append((contour[int(np.argmin(contour[:, 0]))], contour[int(np.argmax(contour[:, 0]))]))
    in_field = (0.0, 0.0), (neck.tissue.depth_mm, neck.tissue.width_mm)
    return [(np.clip(a, *in_field), np.clip(b, *in_field)) for a, b in ends]


def _draw_banner(rng: np.random.Generator, screen: Screen, machine: Machine, size: float) -> None:
    height, width = screen.shape
    tall = height * machine.banner_height
    if machine.banner is not None:
        with screen.ink(machine.banner) as pen:
            pen.rectangle((0, 0, width, tall), fill=255)
    day, minute = rng.integers(1, 29), rng.integers(0, 60)
    left = width * float(rng.uniform(0.02, 0.08))
    name = str(rng.choice(["TEST HOSPITAL", "TEST CLINIC", "TEST^PATIENT"]))
    draw_text(screen, (tall * 0.15, left), name, machine.text, size)
    draw_text(screen, (tall * 0.55, left), f"{day:02d}/01/2020 10:{minute:02d}:00", machine.text, size)
    power = f"MI {rng.uniform(0.4, 1.3):.1f}  TIs {rng.uniform(0.1, 0.9):.1f}"
    draw_text(screen, (tall * 0.15, width * 0.66), power, machine.text, size)
    draw_text(screen, (tall * 0.55, width * 0.66), "TEST PROBE  Neck", machine.text, size)


def _draw_parameters(
    rng: np.random.Generator, screen: Screen, machine: Machine, area: Box, size: float, depth_mm: float
) -> None:
    width = screen.shape[1]
    right = machine.parameters == "right"
    column = area[3] + (width - area[3]) * 0.45 if right else width * 0.012
    if (width - column if right else area[1] - column) < size * 5:
        return
    lines = [
        "B", f"Frq {rng.uniform(8, 16):.1f}", f"Gn {rng.integers(30, 70)}", f"D {depth_mm / 10:.1f}",
        f"DR {rng.integers(55, 80)}", f"FR {rng.integers(12, 60)}", f"AO {rng.integers(60, 101)}%",
    ]  # fmt: skip
    for i, line in enumerate(lines[: int(rng.integers(4, 8))]):
        draw_text(screen, (area[0] + (1 + 1.4 * i) * size, column), line, machine.text, size * 0.9)


def _draw_ruler(
    rng: np.random.Generator, screen: Screen, machine: Machine, area: Box, depth_mm: float, size: float
) -> None:
    row0, column0, row1, column1 = area
    per_mm = (row1 - row0) / depth_mm
    right = machine.ruler_side == "right"
    edge = column1 - 1 if right else column0
    outward = (1 if right else -1) * (-1 if machine.ruler_inside else 1)
    with screen.ink(machine.ruler) as pen:
        for mm in range(0, int(depth_mm) + 1, 5):
            long = size * (0.7 if mm % 10 == 0 else 0.35)
            row = min(row0 + mm * per_mm, row1 - 1)
            pen.line((edge + outward * 2, row, edge + outward * (2 + long), row), fill=255)
        focus = row0 + float(rng.uniform(0.3, 0.7)) * (row1 - row0)
        tip, back = edge + outward * 2, edge + outward * (2 + size * 0.6)
        pen.polygon([(tip, focus), (back, focus - size * 0.4), (back, focus + size * 0.4)], fill=255)
    for cm in range(1, int(depth_mm) // 10 + 1):
        at = (row0 + 10 * cm * per_mm, edge + outward * (4 + size * 0.8))
        draw_text(screen, at, str(cm), machine.ruler, size * 0.85, anchor="lm" if outward > 0 else "rm")


def _draw_bar(screen: Screen, machine: Machine, area: Box, *, colour_flow: bool, size: float) -> None:
    """Grey bar, and below it the colour bar of a Doppler screen."""
    height, width = screen.shape
    wide, tall = max(6, round(width * 0.009)), round(height * 0.16)
    left = 3 if machine.bar_side == "left" else width - wide - 4
    fade = np.linspace(255, 0, tall)
    bars = [np.column_stack([fade, fade, fade])]
    if colour_flow:
        warm, cool = fade[::2], fade[::-2]
        bars.append(np.vstack([warm[:, None] * (1, 0.5, 0), cool[:, None] * (0, 0.5, 1)]))
    for k, bar in enumerate(bars):
        column = np.repeat(bar[:, None], wide, axis=1).astype(np.uint8)
        column[:, [0, -1]] = GREY
        screen.stamp(column, (round(area[0] + k * (tall + 2 * size)), left))


def _draw_body_mark(rng: np.random.Generator, screen: Screen, machine: Machine, area: Box) -> None:
    """Outline of a neck with the probe's place on it."""
    height, width = screen.shape
    side = height * 0.085
    right = bool(rng.random() < 0.5)
    row = area[2] - side * 1.15
    if machine.body_mark_inside:
        column = area[3] - side * 1.6 if right else area[1] + side * 0.3
    else:
        column = area[3] + side * 0.3 if width - area[3] > side * 1.6 else max(2.0, area[1] - side * 1.6)
    with screen.ink(machine.ruler) as pen:
        pen.arc(
            (column + side * 0.25, row - side * 0.35, column + side * 0.95, row + side * 0.6),
            20,
            160,
            fill=255,
        )
        pen.line(
            (column, row + side, column + side * 0.3, row + side * 0.65, column + side * 0.3, row), fill=255
        )
        pen.line(
            (
                column + side * 1.2,
                row + side,
                column + side * 0.9,
                row + side * 0.65,
                column + side * 0.9,
                row,
            ),
            fill=255,
        )
    at = column + side * float(rng.uniform(0.35, 0.85))
    with screen.ink(WHITE) as pen:
        pen.line((at - side * 0.1, row + side * 0.7, at + side * 0.1, row + side * 0.85), fill=255, width=3)
