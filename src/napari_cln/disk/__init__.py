"""Files that survive a crash, a full disk and another process: for every room, and about none.

Atomic writing and bounded reading (``atomic``), locks (``locks``), JSON as typed values (``schema``) with
checksums (``seals``), tables that people give (``tables``, ``cells``), run-length codes (``rle``), and the
user's own folder with the salt of patient keys (``user``). Nothing here knows a frame, a model or a study.
"""
