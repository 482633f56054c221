"""Words for an error that ends some work: one sentence where the reader looks, and the rest in the log."""

from __future__ import annotations

import logging

from ...errors import ClnError

_log = logging.getLogger(__name__)


def words_of(error: Exception) -> str:
    """Return the sentence to tell of an error; an unexpected one is logged with its traceback.

    Parameters
    ----------
    error : Exception
    """
    if isinstance(error, ClnError):
        return str(error)
    words = f"Unexpected {type(error).__name__}: {error}"
    _log.error("%s", words, exc_info=error)
    return words
