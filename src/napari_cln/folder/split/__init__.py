"""Folds by patient: groups that stay together, how they are dealt, and the folds frozen on disk.

Knows cases, no pixels.
"""
