"""A training folder of simulated frames, with the truth and the best possible score in each record."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..phantom import MACHINES, Phantom, simulate
from ..types import Annotation, Case
from .dataset import TrainingFolder
from .record import Provenance

__all__ = ["simulate_folder", "simulated_frames"]

FRAMES_PER_PATIENT = 3
WHO = "simulation"


def simulated_frames(n: int, seed: int) -> Iterator[tuple[str, Phantom]]:
    """Simulate frames of simulated patients, one at a time.

    Parameters
    ----------
    n : int
        Number of frames.
    seed : int
        Not negative. The same seed gives the same frames; of two numbers of frames, the
        smaller gives the beginning of the larger.

    Yields
    ------
    (str, Phantom)
        Name of the patient and the frame. A patient's frames come from one machine.
    """
    names = list(MACHINES)
    for index in range(n):
        patient = index // FRAMES_PER_PATIENT
        machine = names[int(np.random.default_rng([seed, patient]).integers(len(names)))]
        # 64-bit seeds: no frame meets one that was simulated from a small seed, such as those trained on.
        frame_seed = int(np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0])
        yield f"simulated-{seed}-{patient}", simulate(frame_seed, machine=machine)


def simulate_folder(path: str | Path, n: int, seed: int) -> Iterator[Case]:
    """Write a training folder of simulated frames, one frame at each step of the iteration.

    Each record holds the nodes' truth and best possible score (``nodes[].p_malignant``), the
    frame's own best possible score (``p_malignant``), and millimetres. The images are stored as
    any others are: cropped to the scan area, with the burned-in marks painted over.

    Parameters
    ----------
    path : str or Path
        Folder to make; it must not exist or be empty.
    n : int
        Number of frames.
    seed : int
        As in :func:`simulated_frames`.

    Yields
    ------
    Case

    Raises
    ------
    DatasetError
        If the folder exists and is not empty, or can't be written.
    """
    folder = TrainingFolder.create(path)
    for patient, phantom in simulated_frames(n, seed):
        annotation = Annotation(
            frame=phantom.frame,
            instances=phantom.instances,
            nodes=phantom.nodes,
            status="accepted" if phantom.nodes else "no-node",
            annotator=WHO,
        )
        about = Provenance(patient=patient, who=WHO, kind="simulated", p_malignant=float(phantom.malignancy))
        yield folder.keep(annotation, about, overlay=phantom.overlay)
