"""Frames on which nodes were measured → outlines, as predictions: an archive of years becomes a data set."""

from __future__ import annotations

import numpy as np

from ..folder.formats.imported import Suggestion
from ..imaging.crosses import find_calipers
from ..io.sources import Source, as_frame

__all__ = ["FROM_CALIPERS", "outline_calipers"]

FROM_CALIPERS = "from calipers"
"""What the history of a frame says of such outlines."""
OUTLINED = "its nodes were outlined from calipers on the screen, as predictions: look at each"
AMBIGUOUS = "some of its caliper crosses can't be told apart, and nothing was outlined from these"
MOST = 255


def outline_calipers(frame: Source) -> Suggestion:
    """Outline every node that was measured on a frame's screen.

    Parameters
    ----------
    frame : path-like, Frame or ndarray

    Returns
    -------
    Suggestion
        ``instances``, uint8 (H, W): 0 background; 1, 2, … the nodes, the largest first, inside the scan
        area. All 0 where no calipers are seen. For ``suggest`` of :func:`napari_cln.import_study`.

    Raises
    ------
    FrameReadError
        If the frame can't be read.
    WeightsError
        If the network's files are damaged.

    Notes
    -----
    The network sees the frame with its marks painted over. Where a pixel lies in two outlines, the smaller
    node has it.
    """
    from ..network.outline import load_outline_net, outliner_of

    shown = as_frame(frame)
    instances = np.zeros(shown.shape, dtype=np.uint8)
    found = find_calipers(shown)
    if not found.nodes and not found.left_over:
        return Suggestion(instances=instances, action=FROM_CALIPERS, model_id="")
    outliner = outliner_of(shown)
    row0, column0, row1, column1 = outliner.scan_area
    inside = np.s_[row0:row1, column0:column1]
    masks = [outliner.outline(calipers)[inside] for calipers in found.nodes]
    for id_, mask in enumerate(sorted(masks, key=np.count_nonzero, reverse=True)[:MOST], start=1):
        instances[inside][mask] = id_
    _, ids = np.unique(np.append(0, instances), return_inverse=True)  # one may hide another
    notes = tuple(note for note, holds in ((OUTLINED, masks), (AMBIGUOUS, found.left_over)) if holds)
    return Suggestion(
        instances=ids[1:].reshape(shown.shape).astype(np.uint8),
        action=FROM_CALIPERS,
        model_id=load_outline_net()[1].model_id,
        notes=notes,
    )
