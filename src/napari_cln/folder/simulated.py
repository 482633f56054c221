"""A training folder of simulated frames, with the truth and the best possible score in each record."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from ..annotation import Annotation, Case
from ..errors import DatasetError
from ..phantom import MACHINES, Phantom, simulate
from ..phantom.signs import clinical_log_ratio, draw_record
from .dataset import TrainingFolder
from .record import Provenance

FRAMES_PER_PATIENT = 3
RECORDS = 31
"""Stream of random numbers from which clinical records are drawn, apart from all pixels."""
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
        yield _name(seed, patient), simulate(frame_seed, machine=machine)


def simulate_folder(path: str | Path, n: int, seed: int, *, clinical: bool = False) -> Iterator[Case]:
    """Write a training folder of simulated frames, one frame at each step of the iteration.

    Each record holds the nodes' truth and best possible score (``nodes[].p_malignant``), the
    frame's own best possible score (``p_malignant``), and millimetres. The images are stored as
    any others are: cropped to the scan area, with the burned-in marks painted over.

    Parameters
    ----------
    path : str or Path
        Folder to make. One that was begun with the same seed, and cut short, is gone on with.
    n : int
        Number of frames.
    seed : int
        As in :func:`simulated_frames`.
    clinical : bool
        Give each frame a patient of its own with a clinical record, drawn from the frame's class: metastatic
        where any of its nodes is. The frame's best score then takes the record in; pixels are the same.

    Yields
    ------
    Case

    Raises
    ------
    DatasetError
        If the folder exists and holds anything else, or can't be written.
    """
    names = {_name(seed, k, clinical) for k in range(n if clinical else -(-n // FRAMES_PER_PATIENT))}
    folder = _begun(path, names) or TrainingFolder.create(path)
    known = set(folder.ids())
    try:
        for index, (patient, phantom) in enumerate(simulated_frames(n, seed)):
            if (case_id := folder.identify(phantom.frame)) in known:
                yield folder.case(case_id)
                continue
            annotation = Annotation(
                frame=phantom.frame,
                instances=phantom.instances,
                nodes=phantom.nodes,
                status="accepted" if phantom.nodes else "no-node",
                annotator=WHO,
            )
            score = float(phantom.malignancy)
            about = Provenance(patient=patient, who=WHO, kind="simulated", p_malignant=score)
            if clinical:
                rng = np.random.default_rng([seed, RECORDS, index])
                record = draw_record(rng, phantom.label == "metastatic")
                odds = score / max(1 - score, 1e-12) * np.exp(clinical_log_ratio(record))
                about = replace(
                    about,
                    patient=_name(seed, index, clinical),
                    clinical={name: value for name, value in record.items() if value is not None},
                    p_malignant=float(odds / (1 + odds)),
                )
            yield folder.keep(annotation, about, overlay=phantom.overlay, count=False)
    finally:
        folder.dataset.recount()


def _begun(path: str | Path, names: Iterable[str]) -> TrainingFolder | None:
    """A folder that holds some of these very frames and nothing else."""
    try:
        folder = TrainingFolder.open(path)
        patients = {folder.dataset.hash_key("patient", name) for name in names}
        records = [folder.record(case_id) for case_id in folder.ids()]
    except DatasetError:
        return None
    ours = all(record.source.kind == "simulated" and record.patient_key in patients for record in records)
    return folder if ours else None


def _name(seed: int, patient: int, clinical: bool = False) -> str:
    return f"simulated-{seed}-{patient}" + "-with-record" * clinical
