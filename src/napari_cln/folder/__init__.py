"""The training folder: the truth about a study, as files.

``dataset`` opens a folder, reads and saves; ``state`` makes what a save writes, ``commits`` puts it on disk,
``record`` and ``description`` are its two formats of JSON, ``layout`` its paths, ``pictures`` its PNG. Around
them: unsaved strokes, second readings and decisions, the next frame to look at, ``split``, ``health`` and
``formats``. The room knows frames and their sizes (``io``, ``imaging``), but neither torch nor a window,
and nothing of ``study``: what needs both stands above.
"""
