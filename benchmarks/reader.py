"""A scripted reader at work: ``xvfb-run -a python benchmarks/reader.py [--frames 50] [--wrong 15]``.

A real napari window with the Correct dock, driven by events of mouse and keys alone: from the folder of
simulated frames with predicted masks, of which some are wrong, to the last decision. Prints actions and
seconds a frame, how long the next frame takes beside bare ``image.data = …`` in the same window, and how
late the window's own timer comes.
"""

from __future__ import annotations

from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_cln.folder.dataset import TrainingFolder
from napari_cln.phantom import simulate
from napari_cln.types import Annotation, Node


def predicted_study(place: Path, n: int, n_wrong: int) -> dict[str, NDArray[np.uint8]]:
    """Make a training folder of simulated frames with predicted masks; return the wrong ones' truths by id.

    A right mask is the truth; a wrong one lies elsewhere by half of the node's size.
    """
    folder, truths = TrainingFolder.create(place), {}
    wrong = {round(i * n / n_wrong) for i in range(n_wrong)} if n_wrong else set()
    phantoms = (phantom for phantom in map(simulate, count(1000)) if phantom.instances.any())
    for i, phantom in zip(range(n), phantoms, strict=False):
        instances = (phantom.instances == 1).astype(np.uint8)
        shown = instances
        if i in wrong:
            rows, columns = ndimage.find_objects(instances)[0]
            by = (rows.stop - rows.start) // 2, (columns.stop - columns.start) // 2
            shown = ndimage.shift(instances, by, order=0)
        node = Node(id=1, status="predicted", p_malignant=0.4)
        annotation = Annotation(
            frame=phantom.frame,
            instances=shown,
            nodes=(node,) if shown.any() else (),
            status="predicted",
            based_on="default@simulated",
        )
        case = folder.save(annotation, who="napari-cln", patient=f"P{i // 2}")
        if i in wrong:
            truths[case.id] = instances
    return truths
