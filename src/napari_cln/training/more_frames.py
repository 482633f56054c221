"""Frames that join the training side alone: simulated ones, pseudo-labelled ones, and unlabelled ones.

None of them is ever validated or tested on, and none is of a patient who is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..folder.dataset import TrainingFolder
from ..folder.simulated import simulated_frames
from ..models.card import TrainingData
from ..types import Annotation, Case, PrepareConfig
from .data import Samples
from .unlabelled import UnlabelledFrames

__all__ = ["PSEUDO", "MoreFrames", "pseudo_labelled", "simulated_samples", "weighed"]

PSEUDO = "pseudo"
"""Action of a record's last line where a model drew the mask and nobody has looked at it."""
SEEDS = 1_000_000
"""Where the seeds of simulated frames begin: no study that ``napari-cln phantom`` makes has them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MoreFrames:
    """Frames beside the labelled ones of a training folder.

    Parameters
    ----------
    simulated, pseudo : Samples, optional
    patients : tuple of str
        Of the pseudo-labelled frames.
    unlabelled : UnlabelledFrames, optional
    """

    simulated: Samples | None = None
    pseudo: Samples | None = None
    patients: tuple[str, ...] = ()
    unlabelled: UnlabelledFrames | None = None

    def of_fold(self, validated: Collection[str]) -> Iterator[Samples]:
        """Give the frames that join a fold's training side, none of them of a validated patient."""
        if self.pseudo is not None:
            yield self.pseudo.take([k for k, one in enumerate(self.patients) if one not in validated])
        if self.simulated is not None:
            yield self.simulated

    @property
    def notes(self) -> list[str]:
        """Sentences that tell what joins the training."""
        said = []
        if self.simulated is not None:
            said.append(f"{len(self.simulated)} simulated frames join the training side of each fold.")
        if self.pseudo is not None:
            said.append(f"{len(self.pseudo)} pseudo-labelled frames join the training side.")
        return [*said, str(self.unlabelled)] if self.unlabelled else said

    def counts(self, labelled: int, validated: Sequence[Collection[str]]) -> tuple[TrainingData, ...]:
        """List what a model was trained on, for its card.

        Parameters
        ----------
        labelled : int
            Frames of the training folder that readers labelled.
        validated : sequence of collection of str
            Patients that each network of the model was validated on.
        """
        own = "its owner's"
        data = [TrainingData(name="frames of a training folder", n=labelled, licence=own, citation="")]

        def add(name: str, patients: Sequence[str]) -> None:
            n = sum(any(one not in left for left in validated) for one in patients)
            data.append(TrainingData(name=name, n=n, licence=own, citation=""))

        if self.pseudo is not None:
            add("pseudo-labelled frames of that folder, whose masks a model drew", self.patients)
        if self.unlabelled is not None:
            add("unlabelled frames, for the mask alone", self.unlabelled.patients)
        if self.simulated is not None:
            name, by = "simulated neck frames (napari_cln.simulate)", "napari-cln contributors"
            n = len(self.simulated)
            data.append(TrainingData(name=name, n=n, licence="BSD-3-Clause", citation=by))
        return tuple(data)


def simulated_samples(n: int, seed: int, config: PrepareConfig) -> Samples | None:
    """Simulate frames with the masks and best possible scores of their nodes; None for no frame.

    Parameters
    ----------
    n, seed : int
        The same seed gives the same frames.
    config : PrepareConfig
    """
    if not n:
        return None
    parts = []
    for index, (_, phantom) in enumerate(simulated_frames(n, SEEDS + seed)):
        annotation = Annotation(frame=phantom.frame, instances=phantom.instances, nodes=phantom.nodes)
        target = float(phantom.malignancy) if phantom.nodes else float("nan")
        name = f"simulated-{SEEDS + seed}-{index}"
        parts.append(Samples.from_annotation(name, annotation, config, frame_target=target))
    return Samples.join(parts)


def pseudo_labelled(study: TrainingFolder, cases: Iterable[Case]) -> list[Case]:
    """List the frames whose mask ``napari-cln pseudo`` made, and that nobody has judged since.

    Frames of patients who are tested on are left out.
    """
    cases = list(cases)
    tested = {case.patient for case in cases if case.split == "test"}
    waiting = [c for c in cases if c.status == "predicted" and c.instances and c.patient not in tested]
    return [case for case in waiting if _is_pseudo(study, case)]


def _is_pseudo(study: TrainingFolder, case: Case) -> bool:
    last = study.record(case.id).last
    return last is not None and last.action == PSEUDO


def weighed(
    study: TrainingFolder, cases: Sequence[Case], weight: float, config: PrepareConfig
) -> Samples | None:
    """Prepare pseudo-labelled frames, whose masks count ``weight`` beside a reader's, and whose classes are
    not known; None without frames."""
    if not cases:
        return None
    samples = Samples.from_cases(study, cases, config)
    return replace(samples, has_mask=np.full(len(samples), weight, np.float32))
