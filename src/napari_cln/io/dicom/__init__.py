"""DICOM stills and cines: codecs, colour, calibrated regions.

Nothing here knows other kinds of files.
"""
