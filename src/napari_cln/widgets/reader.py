"""napari's reader: in a window, what it opens is drawn as the docks draw it. Imports no Qt by itself."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from .._napari import read_layers

if TYPE_CHECKING:
    from .._layers import LayerTuple


def get_reader(path: str | Sequence[str]) -> Callable[[str | Sequence[str]], list[LayerTuple]]:
    """Reader for napari: each frame with its nodes and their malignancy, a cine or a folder as it is."""
    if "napari._qt" in sys.modules:  # else a script reads, without a window
        import napari

        from .common.workplace import workplace_of

        if (viewer := napari.current_viewer()) is not None:
            workplace_of(viewer)
    return read_layers
