"""A stream of frames through a network: read ahead, prepared and predicted side by side, in order.

Threads that share one batch wait for each other in every layer. On a processor it takes less time to give
each batch fewer threads, and to let several batches through side by side. On a GPU the masks of several
batches are taken to their frames while it works on the next.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import islice

import torch

from ..errors import FrameError, FrameReadError, PredictionError
from ..imaging.preprocessing import ModelInput
from ..types import Frame, Prediction

__all__ = ["MOST_TEAMS", "predict_stream"]

MOST_TEAMS = 4
"""Batches side by side: each holds its maps in memory, and all share Python's one interpreter."""

MOST_PIXELS = 2**24
"""Pixels of the frames that are at work at once: while it is prepared, a pixel takes some 50 bytes."""
BESIDE_GPU = 4
"""Times as many pixels may be at work beside a GPU, which takes larger batches."""

Item = Frame | FrameReadError
Outcome = Prediction | FrameError
Predict = Callable[[Sequence[Frame], Sequence[ModelInput]], list[Prediction | PredictionError]]


def predict_stream(
    frames: Iterable[Item],
    prepare: Callable[[Frame], ModelInput],
    predict: Predict,
    batch_size: Callable[[], int],
    *,
    side_by_side: bool,
    on_gpu: bool = False,
    spare_cores: int = 0,
) -> Iterator[Outcome]:
    """Predict a stream, in order, holding no more than is at work and one batch ahead.

    Large frames are taken fewer at a time, so that :data:`MOST_PIXELS` (beside a GPU ``BESIDE_GPU`` times
    as many) are at work at most, or one frame.

    Parameters
    ----------
    frames : iterable of Frame or FrameReadError
        Read in the caller's thread; an error comes out in its place.
    prepare, predict : callable
        Called in other threads.
    batch_size : callable
        Asked for each batch, since it may shrink. Where it is 1 nothing is read ahead.
    side_by_side : bool
        Whether several batches may be predicted at once, each on its share of PyTorch's threads.
    on_gpu : bool
        Whether the network leaves these threads alone, so that the first batch need not wait until it is
        known how many share them.
    spare_cores : int
        Cores of the processor that are left to others.
    """
    n_threads = torch.get_num_threads()
    n_used = max(n_threads - spare_cores, 1)
    ahead = batch_size() > 1
    most_pixels = MOST_PIXELS * (BESIDE_GPU if on_gpu else 1)
    batches = _batches(iter(frames), batch_size, most_pixels // (MOST_TEAMS if on_gpu else 2))
    n_cores = max((os.cpu_count() or 1) - spare_cores, 1)
    n_teams = min(n_cores if on_gpu else n_used, MOST_TEAMS) if side_by_side and ahead else 1
    first: deque[list[Item]] = deque()
    if not on_gpu:
        first.extend(islice(batches, n_teams))
        n_teams = max(len(first), 1)
    pool = ThreadPoolExecutor(n_cores)
    # in PyTorch each thread has a number of helpers of its own
    each = max(n_used // n_teams, 1)
    teams = ThreadPoolExecutor(n_teams, initializer=torch.set_num_threads, initargs=(each,))
    running: deque[Future[list[Outcome]]] = deque()
    n_pixels: deque[int] = deque()
    try:
        for batch in _in_turn(first, batches):
            inputs = [pool.submit(prepare, frame) for frame in batch if isinstance(frame, Frame)]
            running.append(teams.submit(_outcomes, batch, inputs, predict))
            n_pixels.append(sum(map(_n_pixels, batch)))
            del batch
            while len(running) > (n_teams if ahead else 0) or (
                len(running) > 1 and sum(n_pixels) > most_pixels
            ):
                n_pixels.popleft()
                yield from running.popleft().result()
        while running:
            yield from running.popleft().result()
    finally:
        for future in running:
            future.cancel()
        with suppress(RuntimeError):  # as Python ends, no thread may start, and none will
            teams.submit(torch.set_num_threads, n_threads)  # threads to come take over the last number
        teams.shutdown()
        pool.shutdown(cancel_futures=True)


def _batches(stream: Iterator[Item], size: Callable[[], int], most: int) -> Iterator[list[Item]]:
    while True:
        batch: list[Item] = []
        n, n_pixels = size(), 0
        for item in stream:
            batch.append(item)
            n_pixels += _n_pixels(item)
            if len(batch) >= n or n_pixels + _n_pixels(item) > most:  # another of its size is too many
                break
        if not batch:
            return
        yield batch


def _n_pixels(item: Item) -> int:
    return item.shape[0] * item.shape[1] if isinstance(item, Frame) else 0


def _in_turn(first: deque[list[Item]], rest: Iterator[list[Item]]) -> Iterator[list[Item]]:
    """The first batches and then the rest; none is held once it is handed out."""
    while first:
        yield first.popleft()
    yield from rest


def _outcomes(batch: Sequence[Item], inputs: Sequence[Future[ModelInput]], predict: Predict) -> list[Outcome]:
    """Outcomes of a batch, once its frames are prepared."""
    frames = [frame for frame in batch if isinstance(frame, Frame)]
    found = iter(predict(frames, [future.result() for future in inputs]) if frames else [])
    return [next(found) if isinstance(item, Frame) else item for item in batch]
