"""Results of many files on disk: ``results.csv``, masks and, on request, outlines to look at."""

from .job import FrameResult
from .masks import MaskFile
from .names import list_sources

__all__ = ["FrameResult", "MaskFile", "list_sources"]
