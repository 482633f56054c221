"""Many files → a folder of results: ``results.csv``, masks and, on request, outlines to look at."""

from .job import FrameResult, segment_to_folder
from .masks import MaskFile
from .names import list_sources

__all__ = ["FrameResult", "MaskFile", "list_sources", "segment_to_folder"]
