"""Pixels to pixels and sizes: scan area, burned-in marks, the network's input, measurements.

Arrays and frames in, arrays and numbers out: no file, no network, no window.
"""
