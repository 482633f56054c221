"""Codes and names by which other programs know nodes, their levels and sides.

Codes are those of the standard's context groups (DICOM PS3.16). Neck levels go by the jugular groups of
cancer registries (SEER): II upper, III middle, IV lower; the standard has no code for an undivided
level I, nor for VII, which stay "cervical lymph node" with the level in the label.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..annotation import Node
from ..types import Level, Side

LYMPH_NODE = ("59441001", "Lymph node")
SITES: dict[Level | None, tuple[str, str]] = {
    "II": ("245321008", "Upper jugular lymph node"),
    "III": ("245322001", "Middle jugular lymph node"),
    "IV": ("245323006", "Lower jugular lymph node"),
    "V": ("245324000", "Posterior triangle cervical lymph node"),
    "VI": ("5727003", "Anterior cervical lymph node"),
}
SITE = ("81105003", "Cervical lymph node")
SIDES: dict[Side | None, tuple[str, str]] = {"left": ("7771000", "Left"), "right": ("24028007", "Right")}


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One structure of a segmentation that another program may have written.

    Parameters
    ----------
    number : int
        Value of its pixels.
    label : str
    is_node : bool
        Whether its code says that it is a lymph node.
    node : Node
        What is known of it as one.
    """

    number: int
    label: str
    is_node: bool
    node: Node


def site_term(level: Level | None) -> tuple[str, str]:
    """Code and name (SNOMED CT) of the group of lymph nodes at a neck level."""
    return SITES.get(level, SITE)


def side_term(side: Side | None) -> tuple[str, str] | None:
    """Code and name (SNOMED CT) of a side; None for the midline and where it is not known."""
    return SIDES.get(side)


def segment_label(node: Node) -> str:
    """Name of a node for a list of segments: "Node 1, left III"."""
    place = " ".join(filter(None, (node.side, node.level)))
    return f"Node {node.id}, {place}" if place else f"Node {node.id}"


def coded_level(code: str, label: str) -> Level | None:
    """Neck level of a site's code, else of the label that :func:`segment_label` wrote."""
    for level, (known, _) in SITES.items():
        if code == known:
            return level
    match = re.fullmatch(r"Node \d+,(?: left| right| midline)? (I|VII)", label)
    return match[1] if match else None  # type: ignore[return-value]


def side_of(code: str, label: str) -> Side | None:
    """Side of a code, else of the label that :func:`segment_label` wrote."""
    for side, (known, _) in SIDES.items():
        if code == known:
            return side
    return "midline" if re.fullmatch(r"Node \d+, midline( [IV]+)?", label) else None
