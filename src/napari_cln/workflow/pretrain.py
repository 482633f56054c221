"""Pretraining on frames that nobody labelled: the network restores what was hidden of them.

It is the training loop of every other run with another task (``Recipe.task``); what comes out is a model file
to start a training from, and nothing to segment with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

from ..errors import ClnError, FrameReadError, RunError, counted
from ..models.card import RESTORES, ModelCard, TrainingData, plain_name
from ..network.u_shaped import network_of
from ..network.weights import save_model
from ..training.checkpoint import has_checkpoint, load_weights
from ..training.config import PretrainConfig
from ..training.data import Samples
from ..training.loop import fit
from ..training.recipes import Recipe
from ..training.run_folder import End, Event, Failed, Note, RunFolder, Stopped
from ..training.start import starting_point
from ..training.unlabelled import read_frames_of, unlabelled_sample

__all__ = ["pretrain"]

HELD_OUT = 0.1
"""Share of the frames on which the restoration is judged."""
LEAST = 10
"""Frames, of which one is held out."""


def pretrain(
    scans: Sequence[str | Path],
    out: Path | str,
    config: PretrainConfig | None = None,
    *,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Event]:
    """Pretrain a network on frames that nobody labelled; progress is the iteration itself.

    Parameters
    ----------
    scans : sequence of path
        Files, folders and glob patterns: stills, and every tenth frame of cines. No frame of a patient who is
        to be validated or tested on later may be among them.
    out : path
        Folder of the run: ``model.safetensors`` with its card, ``progress.jsonl``, and the checkpoint, from
        which the same call goes on.
    config : PretrainConfig, optional
    stop : callable, optional
        Asked before every step; True ends it there with the checkpoint written.

    Yields
    ------
    Event
        As of :func:`napari_cln.train`; ``loss`` has ``restore`` and, on frames held out, ``held_out``: mean
        errors in grey values of [0, 1].

    Raises
    ------
    FrameReadError
        If there is nothing to read.
    RunError
        If there are too few frames, or ``out`` can't be written or holds a training, or a run on other frames
        or from another start.
    """
    config, run = config or PretrainConfig(), RunFolder(out)
    if run.is_begun:
        raise RunError(f"{run.path.name} holds a training. Choose another folder.")
    try:
        run.path.mkdir(parents=True, exist_ok=True)
        for event in _pretrain(scans, run, config, stop):
            run.note(event)
            yield event
    except ClnError as error:
        with suppress(OSError):
            run.note(Failed(message=str(error)))
        raise
    except OSError as cause:
        raise RunError(
            f"{run.path.name} can't be written ({cause.strerror}). Make room, or choose another folder; "
            "the same command goes on from the last checkpoint."
        ) from cause


def _pretrain(
    scans: Sequence[str | Path], run: RunFolder, config: PretrainConfig, stop: Callable[[], bool]
) -> Iterator[Event]:
    recipe = replace(
        Recipe.best(), task="restore", batch_size=config.batch_size, learning_rate=config.learning_rate
    )
    parts: list[Samples] = []
    sources: list[Path | None] = []
    n_unread = 0
    for frame in read_frames_of(scans):
        if isinstance(frame, FrameReadError):
            n_unread += 1
            continue
        parts.append(unlabelled_sample(f"frame {len(parts)}", frame, recipe.prepare))
        sources.append(frame.source)
    if n_unread:
        yield Note(
            message=f"{counted(n_unread, 'file or frame', 'files or frames')} can't be read: left out."
        )
    if len(parts) < LEAST:
        raise RunError(f"{len(parts)} frames are too few to pretrain on. Give {LEAST} or more.")
    samples = Samples.join(parts)
    n_held = _held_out(sources)
    learn, judge = samples.take(range(n_held, len(samples))), samples.take(range(n_held))
    start = starting_point(config.start_from, recipe, config.seed)
    if start is not None:
        recipe = replace(recipe, network=start.network.config)
    place = run.fold(0)
    place.mkdir(exist_ok=True)
    for event in fit(
        learn,
        judge,
        recipe,
        place,
        epochs=config.epochs,
        seed=config.seed,
        start_from=start.network if start else None,
        resume=has_checkpoint(place),
        stop=stop,
    ):
        yield event
        if isinstance(event, Stopped):
            return
    network = network_of(recipe.network).eval()
    network.load_state_dict(load_weights(place))
    card = ModelCard(
        name=plain_name(run.path.absolute().name),
        created=datetime.now(UTC).date().isoformat(),
        prepare=recipe.prepare,
        trained_on=(
            TrainingData(name="unlabelled frames", n=len(learn), licence="its owner's", citation=""),
        ),
        recipe={**asdict(config), "start_from": start.model if start else "", "task": RESTORES},
        limits=f"Pretrained on {len(learn)} unlabelled frames. It draws nothing and scores nothing: start a "
        "training from it. For research, not for diagnosis.",
    )
    save_model(network, run.model, card)
    yield End(model=run.model.name, fold=0)


def _held_out(sources: Sequence[Path | None]) -> int:
    """Number of frames, from the first on, that are held out: those of whole files, where there are two."""
    wanted = max(round(HELD_OUT * len(sources)), 1)
    firsts = [k for k in range(1, len(sources)) if sources[k] != sources[k - 1]]
    return min(firsts, key=lambda k: abs(k - wanted), default=wanted)
