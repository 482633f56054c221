"""Many files → a folder of results: ``results.csv``, masks and, on request, outlines to look at."""

from .job import FrameResult, segment_to_folder
from .masks import MaskFile

__all__ = ["FrameResult", "MaskFile", "segment_to_folder"]
