"""Work beside the window: one way to start it, and one way in which it fails."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import wraps
from inspect import isgeneratorfunction
from typing import Any

from napari.qt import threading as napari_threading
from qtpy.QtCore import QObject
from superqt import utils as superqt_threading

from .parts import Signal


class Work(QObject):
    """A function or a generator function that runs in a thread, for as long as its owner lives.

    Whatever it raises ends in ``failed``; nobody hears of it when the owner is gone.

    Parameters
    ----------
    owner : QObject
    function : callable
        May raise, and knows nothing of threads.
    *arguments
    is_task : bool
        Whether napari asks before it closes the window over it.
    """

    stepped = Signal(object)  # what a generator yields
    done = Signal(object)  # what the function returns
    failed = Signal(object)  # the exception
    stopped = Signal()  # a generator was asked to stop, and did
    ended = Signal()  # always, and last

    def __init__(
        self, owner: QObject, function: Callable[..., Any], *arguments: Any, is_task: bool = False
    ) -> None:
        super().__init__(owner)
        create: Any = (napari_threading if is_task else superqt_threading).create_worker
        self.worker: Any = create(_guarded(function), *arguments, _start_thread=False)
        if hasattr(self.worker, "yielded"):
            self.worker.yielded.connect(self.stepped)
            self.worker.aborted.connect(self.stopped)
            owner.destroyed.connect(self.worker.quit)
        self.worker.returned.connect(self._take)
        self.worker.finished.connect(self._end)

    def start(self) -> Work:
        """Start the thread."""
        self.worker.start()
        return self

    def stop(self) -> None:
        """Ask a generator to stop after its next step."""
        self.worker.quit()

    def _take(self, outcome: Any) -> None:
        if isinstance(outcome, _Failure):
            self.failed.emit(outcome.error)
        else:
            self.done.emit(outcome)

    def _end(self) -> None:
        self.ended.emit()
        self.deleteLater()


@dataclass(frozen=True)
class _Failure:
    """Returned, not raised: a worker swallows a RuntimeError, and torch raises those."""

    error: Exception


def _guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    if isgeneratorfunction(function):

        @wraps(function)
        def steps(*arguments: Any) -> Generator[Any, None, Any]:
            try:
                return (yield from function(*arguments))
            except Exception as error:
                return _Failure(error)

        return steps

    @wraps(function)
    def call(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except Exception as error:
            return _Failure(error)

    return call
