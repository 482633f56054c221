"""Faults of a training folder, by name, and their repair where nothing has to be guessed."""
