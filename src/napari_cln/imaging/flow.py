"""Doppler flow of a frame, and where in each node it lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..types import Box, ColourFlow, Frame
from .measurement import bounds
from .overlay import read_marks

__all__ = ["NodeFlow", "find_flow"]


FlowPattern: TypeAlias = Literal["none", "hilar", "peripheral", "mixed"]

RIM = 0.42
"""Depth of the rim, as a part of the greatest distance from a node's border."""
LEAST_FLOW = 0.012
"""Share of the rim, or of the middle, that has colour where flow is present there."""
LEAST_OF_ALL = 0.12
"""Share of a node's flow that a part must hold, so that the end of a branch is no second pattern."""


@dataclass(frozen=True, kw_only=True)
class NodeFlow:
    """Flow in one node.

    Parameters
    ----------
    share : float
        Part of the node, in [0, 1], that has colour, of what lies in the colour box.
    central_share : float, optional
        Part of that colour which lies in the node's middle; None without any.
    pattern : {"none", "hilar", "peripheral", "mixed"}
        Flow nowhere, in the middle alone, along the rim alone, or in both.
    """

    share: float
    central_share: float | None
    pattern: FlowPattern


def find_flow(frame: Frame, scan_area: Box | None = None) -> ColourFlow | None:
    """Find Doppler flow.

    Parameters
    ----------
    frame : Frame
    scan_area : (int, int, int, int), optional
        The frame's own, or found by :func:`napari_cln.find_scan_area` otherwise.

    Returns
    -------
    ColourFlow or None
        Flow, and the box in which it was measured. None where the frame shows no Doppler: no flow, no
        colour bar beside the outline of a box, and no region for it in the file. A frame in whose colour
        box nothing flows has a mask that is False everywhere.

    Notes
    -----
    Only rectangular and slanted boxes are found by their outline, not sectors; the flow in those is found
    where it is wider than a stroke. See ``docs/how-to/doppler.md``.

    Examples
    --------
    >>> from napari_cln import simulate
    >>> phantom = simulate(3, n_nodes=1, doppler=True)
    >>> find_flow(phantom.frame) is not None, find_flow(simulate(3, n_nodes=1).frame) is None
    (True, True)
    """
    return read_marks(frame, scan_area or frame.scan_area).flow


def flow_of_node(flow: ColourFlow, mask: NDArray[np.bool_]) -> NodeFlow | None:
    """Measure the flow in one node.

    Parameters
    ----------
    flow : ColourFlow
    mask : ndarray of bool, shape (H, W)

    Returns
    -------
    NodeFlow or None
        None where less than half of the node lies in the colour box: the rest was not measured.

    Raises
    ------
    ValueError
        If the mask has another shape than the frame.
    """
    if mask.shape != flow.mask.shape:
        raise ValueError(
            f"mask has shape {mask.shape}, the frame {flow.mask.shape}: give it in frame pixels."
        )
    place = bounds(mask)
    if place is None:
        return None
    node = np.pad(mask[place], 1)
    depth = ndimage.distance_transform_edt(node)[1:-1, 1:-1]
    node = node[1:-1, 1:-1]
    measured = node if flow.box is None else node & _within(flow.box, place)
    if np.count_nonzero(measured) < 0.5 * np.count_nonzero(node):
        return None
    flowing = flow.mask[place] & measured
    middle = depth > RIM * depth.max()
    n_flow, n_central = int(np.count_nonzero(flowing)), int(np.count_nonzero(flowing & middle))
    share = n_flow / np.count_nonzero(measured)
    if not n_flow:
        return NodeFlow(share=0.0, central_share=None, pattern="none")
    central = _present(n_central, int(np.count_nonzero(measured & middle)), n_flow)
    rim = _present(n_flow - n_central, int(np.count_nonzero(measured & ~middle)), n_flow)
    names: dict[tuple[bool, bool], FlowPattern] = {
        (False, False): "none",
        (True, False): "hilar",
        (False, True): "peripheral",
        (True, True): "mixed",
    }
    return NodeFlow(share=share, central_share=n_central / n_flow, pattern=names[central, rim])


def flow_of_nodes(
    flow: ColourFlow | None, instances: NDArray[np.uint8], ids: Sequence[int] | None = None
) -> tuple[NodeFlow | None, ...]:
    """Measure the flow in each node of a frame.

    Parameters
    ----------
    flow : ColourFlow, optional
        None for a frame without Doppler: each node then has None.
    instances : ndarray of uint8, shape (H, W)
        0 background; 1, 2, … the nodes.
    ids : sequence of int, optional
        Those asked for; all that have pixels otherwise, in ascending order.

    Returns
    -------
    tuple of NodeFlow or None
    """
    asked = np.unique(instances[instances > 0]).tolist() if ids is None else list(ids)
    return tuple(None if flow is None else flow_of_node(flow, instances == id_) for id_ in asked)


def _within(box: Box, place: tuple[slice, slice]) -> NDArray[np.bool_]:
    """Pixels of a place that lie in a box."""
    rows = np.arange(place[0].start, place[0].stop)
    columns = np.arange(place[1].start, place[1].stop)
    inside: NDArray[np.bool_] = ((rows >= box[0]) & (rows < box[2]))[:, None] & (
        (columns >= box[1]) & (columns < box[3])
    )
    return inside


def _present(flowing: int, size: int, of: int) -> bool:
    return bool(size) and flowing >= LEAST_FLOW * size and flowing >= LEAST_OF_ALL * of
