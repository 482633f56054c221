"""Files to frames, by content and not by file ending.

``sources`` opens any file that is read; each kind of file has a module, DICOM a room. What a file does not
say is None in the frame, and every bound on size is in ``limits``. Knows no folder, no model and no window.
"""
