"""Many files → a folder of results: ``results.csv``, masks and, on request, outlines to look at."""

from .job import FrameResult, segment_to_folder

__all__ = ["FrameResult", "segment_to_folder"]
