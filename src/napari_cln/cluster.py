"""The batch job on a Dask cluster: a file is a task, and the worker that did it has written it.

The scheduler and its workers run already (``dask scheduler``, ``dask worker``), see the same disk as
the caller, and have the same version of this package. Each file's results go to a folder of their
own, ``OUT/parts/…``; the caller moves them into ``OUT`` as they come, and is the only one to write
there. So nothing is lost with a worker but the frame that ended it, nothing is lost with the caller,
and a rerun, here or on the cluster, does what is missing.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from distributed import Client, Future, KilledWorker, WorkerPlugin, as_completed, get_worker

from .batch.job import FrameResult, ResultsOptions, forget_changed, notes_of, open_results
from .batch.names import PARTS, NamedSource, Naming, mark_of_naming, sources_outside
from .batch.part import give_up, open_part, segment_part
from .batch.results import ResultsFolder
from .batch.rows import FrameKey
from .errors import ClnError, RunError
from .models.library import find_model, read_card

if TYPE_CHECKING:
    from .network.inference import Segmenter

TASKS_PER_THREAD = 4
"""Files that wait at the cluster for each of its threads; the rest wait here, so that it holds little."""
MODEL = "napari-cln-model"


class ModelPlugin(WorkerPlugin):  # type: ignore[misc]  # distributed has no types
    """Gives each worker the model's file, once; also workers that join later."""

    name = MODEL

    def __init__(self, file_name: str, weights: bytes, card: bytes) -> None:
        self.file_name = file_name
        self.weights = weights
        self.card = card

    def setup(self, worker: Any) -> None:
        """Write the file where the worker keeps what is its own."""
        folder = Path(worker.local_directory) / MODEL
        folder.mkdir(exist_ok=True)
        path = folder / self.file_name
        path.write_bytes(self.weights)
        path.with_suffix(".json").write_bytes(self.card)
        _segmenter.cache_clear()


@lru_cache(maxsize=1)
def _segmenter(path: str, device: str, batch_size: int | None) -> Segmenter:
    from .network.inference import Segmenter

    return Segmenter(path, device, batch_size)


def _segment_on_worker(
    source: NamedSource,
    part: str,
    skip: frozenset[int],
    expected: str,
    file_name: str,
    device: str,
    batch_size: int | None,
    options: ResultsOptions,
) -> list[FrameResult]:
    """One file, in the worker's process."""
    if version("napari-cln") != expected:
        raise RunError(
            f"A worker has napari-cln {version('napari-cln')}, and this run is of {expected}. "
            "Install the same version on every worker, and start them again."
        )
    model = str(Path(get_worker().local_directory) / MODEL / file_name)
    return segment_part(source, Path(part), _segmenter(model, device, batch_size), skip=skip, **options)


def segment_on_cluster(
    paths: Iterable[str | Path],
    out: str | Path,
    *,
    scheduler: str,
    model: str | Path = "default",
    device: str = "auto",
    batch_size: int | None = None,
    masks: Literal["png", "rle"] = "png",
    overlays: bool = False,
    names: Naming = "path",
    redo: bool = False,
) -> Iterator[FrameResult]:
    """Segment files on a Dask cluster into a folder of results, doing only what is missing.

    Parameters
    ----------
    paths, out, model, device, batch_size, masks, overlays, names, redo
        As for :func:`napari_cln.segment_to_folder`. Paths and ``out`` lie on a disk that the
        workers see under the same name. The model is a name or a file, sent once to each worker.
    scheduler : str
        Its address, such as ``tcp://10.0.0.1:8786``.

    Yields
    ------
    FrameResult
        As each file is done; of a file that ended four workers, a ``"failed"`` one.

    Raises
    ------
    RunError
        If there is no such scheduler, it has no worker, a worker has another version, or ``out``
        holds results of another model.
    ExportError, FrameReadError, WeightsError, DeviceError
        As for :func:`napari_cln.segment_to_folder`.
    """
    out = Path(out).absolute()
    sources = sources_outside(out, paths, names)
    weights = find_model(model)
    card = read_card(weights)
    options: ResultsOptions = {"masks": masks, "overlays": overlays, "naming": mark_of_naming(names)}
    with (
        _connected(scheduler) as client,
        open_results(out, card, redo=redo, **options) as results,
    ):
        parts = out / PARTS
        if redo:
            shutil.rmtree(parts, ignore_errors=True)
        forget_changed(sources, results)
        yield from notes_of(results)
        plugin = ModelPlugin(weights.name, weights.read_bytes(), card.to_json().encode())
        client.register_plugin(plugin)
        todo = [source for source in sources if not results.is_complete(source.name)]
        missing = {source.name for source in todo}
        for source in sources:
            if source.name not in missing:
                kept = (len(sources) - len(todo)) / len(sources)
                yield FrameResult(source=source.name, frame=None, status="kept", progress=kept)
        for n_done, (source, outcome) in enumerate(
            _outcomes(
                client,
                todo,
                parts,
                results,
                (version("napari-cln"), weights.name, device, batch_size, options),
            ),
            start=len(sources) - len(todo) + 1,
        ):
            part = _part(parts, source)
            if part.is_dir():
                with open_part(part, card, **options) as made:
                    results.adopt(made)
            if outcome is None:
                outcome = [give_up(FrameKey(source.name, -1), results)]
            else:
                for result in outcome:  # a part keeps none of them: whoever opens it tries them again
                    if result.status == "failed":
                        frame = -1 if result.frame is None else result.frame
                        results.add_failure(FrameKey(source.name, frame), result.message)
            for result in outcome:
                yield replace(result, progress=n_done / len(sources))
            shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(parts, ignore_errors=True)
        results.sort()


def _outcomes(
    client: Client, todo: list[NamedSource], parts: Path, results: ResultsFolder, settings: tuple[Any, ...]
) -> Iterator[tuple[NamedSource, list[FrameResult] | None]]:
    """Each file as it is done, with what became of its frames; None for one that killed its workers."""
    waiting = iter(todo)
    running: dict[Future[Any], NamedSource] = {}
    finished = as_completed([], loop=client.loop)

    def submit(count: int) -> None:
        for source in islice(waiting, count):
            skip = frozenset(results.done(source.name))
            future = client.submit(
                _segment_on_worker,
                source,
                str(_part(parts, source)),
                skip,
                *settings,
                key=f"segment-{_part(parts, source).name}",
                pure=False,
            )
            running[future] = source
            finished.add(future)

    try:
        submit(TASKS_PER_THREAD * sum(client.nthreads().values()))
        for future in finished:
            source = running.pop(future)
            error = future.exception()
            if isinstance(error, KilledWorker):
                yield source, None
            elif error is not None:
                raise (
                    error
                    if isinstance(error, ClnError)
                    else RunError(
                        f"A worker failed on {source.name} ({type(error).__name__}). "
                        "Its log says more; the same command goes on where it stopped."
                    )
                ) from error
            else:
                yield source, future.result()
            future.release()
            # as many again as the cluster has room for by now
            room = TASKS_PER_THREAD * sum(client.nthreads().values())
            submit(max(room - len(running), 0))
    finally:
        client.cancel(list(running), force=True)


def _part(parts: Path, source: NamedSource) -> Path:
    return parts / hashlib.sha256(source.name.encode()).hexdigest()[:20]


def _connected(scheduler: str) -> Client:
    """A client that does not take over the computations of the program that calls (napari's slicing)."""
    try:
        client = Client(scheduler, set_as_default=False, timeout=20)
    except (OSError, ValueError) as cause:
        raise RunError(
            f"There is no Dask scheduler at {scheduler}. Start one with 'dask scheduler', "
            "and give the address that it prints."
        ) from cause
    if not client.nthreads():
        client.close()
        raise RunError(
            f"The scheduler at {scheduler} has no workers. Start some with 'dask worker {scheduler}'."
        )
    return client
