"""Figures over numbers: definitions, intervals, agreement, calibration. Knows no frame and no file."""
