"""Figures over numbers: definitions, intervals, agreement, calibration.

Arrays in, figures out. Knows no frame, no case and no file.
"""
