"""Folds by patient: what must stay together, how it is dealt, and the folds frozen on disk."""
