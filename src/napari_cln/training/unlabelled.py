"""Frames beside the labelled ones: unlabelled, pseudo-labelled and simulated, on the training side alone.

None of them is ever validated or tested on, and none is of a patient who is, as far as that is known. From
unlabelled ones the network learns what its own average draws on them.

A *mean teacher* [1]_: the running average of the weights, which the training keeps anyway, draws on a frame;
the network has to draw the same on that frame as another machine would show it, with a piece of another frame
pasted over it [2]_. Only pixels of which the teacher is sure count [3]_, and a frame counts as far as its
nodes are sure. Without a running average (recipe ``paper``) the network is its own
teacher. A class is never guessed: a network that is told its own opinion only grows surer of it.

References
----------
.. [1] A. Tarvainen and H. Valpola, "Mean teachers are better role models", NeurIPS 2017. :arxiv:`1703.01780`
.. [2] G. French et al., "Semi-supervised semantic segmentation needs strong, varied perturbations", BMVC
       2020. :arxiv:`1906.01916`
.. [3] K. Sohn et al., "FixMatch", NeurIPS 2020. :arxiv:`2001.07685`
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ..annotation import Annotation, Case
from ..errors import DatasetError, FrameReadError, RunError, counted
from ..folder.dataset import TrainingFolder
from ..folder.record import PSEUDO
from ..folder.screens import refuse_held
from ..folder.simulated import simulated_frames
from ..folder.split.deal import Fold
from ..folder.split.groups import is_trainable
from ..io.sources import find_sources, open_source
from ..models.card import TrainingData
from ..network.model import Member
from ..types import Frame, PrepareConfig
from .augmentation import augment, change_look
from .checkpoint import Average
from .data import Batch, Samples, order
from .recipes import Recipe

__all__ = [
    "MoreFrames",
    "Teacher",
    "UnlabelledFrames",
    "pseudo_labelled",
    "read_frames_of",
    "read_unlabelled",
    "simulated_samples",
    "unlabelled_sample",
    "weighed",
]

SEEDS = 1_000_000
"""Where the seeds of simulated frames begin: no study that ``napari-cln phantom`` makes has them."""

SURE = 0.9
"""Probability of node or of background from which on the teacher is believed."""
EMPTY = 0.2
"""Weight of a frame on which the teacher sees nothing, where a node that it misses would teach to miss it."""
RAMP = 0.2
"""Share of the steps over which what the teacher says comes to count fully."""
EVERY = 10
"""Of the frames of a cine, which hardly differ, one in so many is taken."""


@dataclass(frozen=True, kw_only=True, eq=False)
class UnlabelledFrames:
    """Unlabelled frames, with the patient of each where one is known.

    Parameters
    ----------
    samples : Samples
    patients : tuple of str
        Key of each frame's patient in the training folder; empty where nobody knows.
    left_out : int
        Frames that a labelled or a test frame of the training folder is, that a reader has left out of it, or
        whose patient is tested on.
    unread : int
        Files, or frames of cines, that can't be read.
    """

    samples: Samples
    patients: tuple[str, ...]
    left_out: int = 0
    unread: int = 0

    def beside(self, patients: Collection[str]) -> Samples:
        """Return the frames that are of none of these patients, such as a fold's validated ones."""
        return self.samples.take([k for k, one in enumerate(self.patients) if one not in patients])

    def __str__(self) -> str:
        unknown = sum(not patient for patient in self.patients)
        parts = [counted(len(self.samples), "unlabelled frame teaches", "unlabelled frames teach")]
        parts[0] += " the mask too"
        if self.left_out:
            left = counted(self.left_out, "was", "were")
            parts.append(f"{left} left out: labelled, of patients that are tested on, or by a reader")
        if self.unread:
            parts.append(f"{counted(self.unread, 'file or frame', 'files or frames')} can't be read")
        if unknown:
            parts.append(
                f"of {unknown} no patient is known: see to it that none is of a patient who is validated or "
                "tested on"
            )
        return "; ".join(parts) + "."


def read_unlabelled(
    place: str | Path, study: TrainingFolder, folds: Sequence[Fold], config: PrepareConfig
) -> UnlabelledFrames:
    """Read the frames of a folder that may teach beside a study's labelled ones.

    Parameters
    ----------
    place : path
        Folder of frames, or a training folder, of which the frames that nobody labelled are taken.
    study : TrainingFolder
        The labelled frames.
    folds : sequence of Fold
        Those of the run.
    config : PrepareConfig

    Raises
    ------
    RunError
        If there is no such folder, or not one frame is left.
    DatasetError
        If frames of a training folder are held until somebody has looked at their pictures.
    """
    if not Path(place).exists():
        raise RunError(f"There is no folder {Path(place).name} of unlabelled frames. Correct its path.")
    cases = {case.id: case for case in study.cases()}
    labelled = {id_ for fold in folds for id_ in (*fold.train, *fold.validation)}
    excluded = labelled | study.dataset.left_out.keys()
    tested = {case.patient for case in cases.values() if case.split == "test"}
    other = _training_folder(place)
    if other is not None:
        # another folder may have another salt: equal patients are known by equal keys alone
        waiting = [case for case in other.cases() if not is_trainable(case) and case.status != "rejected"]
        chosen = [case for case in waiting if case.id not in excluded and case.patient not in tested]
        refuse_held(other, (case.id for case in chosen), "Training")
        patients = tuple(case.patient for case in chosen)
        samples = _unmasked(Samples.from_cases(other, chosen, config)) if chosen else None
        left_out, unread = len(waiting) - len(chosen), 0
    else:
        parts, keys, left_out, unread = [], [], 0, 0
        for frame in read_frames_of([place]):
            if isinstance(frame, FrameReadError):
                unread += 1
                continue
            id_ = study.identify(frame)
            patient = _patient(frame, cases.get(id_), study)
            if id_ in excluded or patient in tested:
                left_out += 1
                continue
            parts.append(unlabelled_sample(id_, frame, config))
            keys.append(patient)
        samples, patients = Samples.join(parts) if parts else None, tuple(keys)
    if samples is None:
        why = "it has none without a label"
        if left_out or unread:
            why = f"{left_out} are labelled, of tested patients, or left out, {unread} can't be read"
        raise RunError(
            f"{Path(place).name} holds no unlabelled frame to learn from: {why}.",
            "Choose another folder, or none.",
        )
    return UnlabelledFrames(samples=samples, patients=patients, left_out=left_out, unread=unread)


def _training_folder(place: str | Path) -> TrainingFolder | None:
    try:
        return TrainingFolder.open(place)
    except DatasetError:
        if (Path(place) / "dataset.json").exists():
            raise
        return None


def read_frames_of(places: Sequence[str | Path]) -> Iterator[Frame | FrameReadError]:
    """Read stills, and every tenth frame of cines, one in memory at a time.

    Parameters
    ----------
    places : sequence of path
        Files, folders and glob patterns.

    Returns
    -------
    iterator of Frame or FrameReadError
        The error of a file, or of a frame of it, in its place; the others go on.

    Raises
    ------
    FrameReadError
        At the call, if there is no such folder, or nothing to read in it.
    """
    return _stream(find_sources(*places))


def _stream(paths: Iterable[Path]) -> Iterator[Frame | FrameReadError]:
    for path in paths:
        try:
            opened = open_source(path)
        except FrameReadError as error:
            yield error
            continue
        with opened:
            for index in range(0, len(opened), EVERY):
                try:
                    found: Frame | FrameReadError = opened[index]
                except FrameReadError as error:
                    found = error
                yield found


def _patient(frame: Frame, case: Case | None, study: TrainingFolder) -> str:
    if case is not None:
        return case.patient
    return study.dataset.hash_key("patient", frame.patient_id) if frame.patient_id else ""


def unlabelled_sample(id_: str, frame: Frame, config: PrepareConfig) -> Samples:
    """Prepare one frame of which nothing is known.

    Parameters
    ----------
    id_ : str
    frame : Frame
    config : PrepareConfig
    """
    nothing = Annotation(frame=frame, instances=np.zeros(frame.shape, np.uint8), status="predicted")
    return Samples.from_annotation(id_, nothing, config, has_mask=False)


def _unmasked(samples: Samples) -> Samples:
    """The frames alone, without what is known of them."""
    return replace(
        samples,
        instances=np.zeros_like(samples.instances),
        has_mask=np.zeros(len(samples), bool),
        node_targets=np.full_like(samples.node_targets, np.nan),
        frame_targets=np.full_like(samples.frame_targets, np.nan),
    )


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
            joining = counted(len(self.simulated), "simulated frame joins", "simulated frames join")
            said.append(f"{joining} the training side of each fold.")
        if self.pseudo is not None:
            joining = counted(len(self.pseudo), "pseudo-labelled frame joins", "pseudo-labelled frames join")
            said.append(f"{joining} the training side.")
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
        name = f"simulated-{SEEDS + seed}-{index}"
        parts.append(Samples.from_annotation(name, annotation, config))
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


class Teacher:
    """A running average at work: it draws on unlabelled frames what the network is to draw.

    Parameters
    ----------
    frames : Samples
        Unlabelled ones.
    average : Average
        Of the network's weights; what it becomes is what the teacher knows.
    like : Member
        The network, on its device.
    recipe : Recipe
    seed : int
    """

    def __init__(self, frames: Samples, average: Average, like: Member, recipe: Recipe, seed: int) -> None:
        self.frames, self.recipe, self.seed = frames, recipe, seed
        self.network = average.shared(like)

    def batch(
        self, step: int, size: int, share: tuple[int, int], device: torch.device
    ) -> tuple[Batch, list[tuple[int, ...]]]:
        """Return the unlabelled frames of a step in one process, ``share`` being its number and that of all,
        and the keys of their draws; they depend on the step alone."""
        size = min(size, len(self.frames))
        passed, position = divmod(step, len(self.frames) // size)
        chosen: NDArray[np.intp] = order(len(self.frames), self.seed, passed)[position * size :][:size]
        mine = chosen[share[0] :: share[1]] if size >= share[1] else chosen
        keys: list[tuple[int, ...]] = [(self.seed, passed, int(index), 1) for index in mine]
        return Batch.of(self.frames.take(mine), device), keys

    @torch.no_grad()
    def guess(
        self, batch: Batch, keys: Sequence[tuple[int, ...]], done: float, *, crop: bool, half: bool
    ) -> Batch:
        """Draw masks on unlabelled frames, and make the frames harder to draw on.

        Parameters
        ----------
        batch : Batch
        keys : sequence of tuple of int
            Of each frame's draws.
        done : float
            Share of the steps that are done, in [0, 1].
        crop, half : bool
            Crop as the labelled frames are, and see half the side.

        Returns
        -------
        Batch
            ``judged`` is 1 where the teacher is sure, ``mask_weight`` how much each frame counts, in [0, 1].
        """
        kind = "place" if self.recipe.augmentation == "ultrasound" else "flip"
        batch = augment(batch, keys, kind, crop=crop)
        if half:
            batch = batch.halved()
        drawn = self.network.decode(self.network.encode(batch.image)).float().softmax(1)[:, 1:]
        sure = (drawn >= SURE) | (drawn <= 1 - SURE)
        possible = (drawn > 1 - SURE).sum((1, 2, 3))
        share = (drawn >= SURE).sum((1, 2, 3)) / possible.clamp_min(1)
        share = torch.where(possible > 0, share, torch.full_like(share, EMPTY))
        guessed = replace(
            batch,
            instances=(drawn >= SURE).to(torch.uint8),  # what is not judged is no part of a mask
            judged=sure.float(),
            mask_weight=self.recipe.loss.consistency * min(done / RAMP, 1.0) * share,
        )
        return _pasted(change_look(guessed, [(*key, 2) for key in keys]), keys)


def _pasted(batch: Batch, keys: Sequence[tuple[int, ...]]) -> Batch:
    """Each frame with a box of another, mask and all."""
    image, instances, judged = batch.image.clone(), batch.instances.clone(), batch.judged
    assert judged is not None
    judged = judged.clone()
    count, side = len(image), image.shape[-1]
    for row, key in enumerate(keys):
        rng = np.random.default_rng((*key, 3))
        rows, columns = (max(1, round(side * float(part))) for part in rng.uniform(0.2, 0.5, 2))
        top, left = int(rng.integers(side - rows + 1)), int(rng.integers(side - columns + 1))
        other = (row + 1) % count
        box = np.s_[:, top : top + rows, left : left + columns]
        image[row][box] = batch.image[other][box]
        instances[row][box] = batch.instances[other][box]
        if batch.judged is not None:
            judged[row][box] = batch.judged[other][box]
    return replace(batch, image=image, instances=instances, judged=judged)
