"""Faults of a training folder, by name, and their repair where nothing has to be guessed.

``check`` looks and changes nothing; ``repair`` deletes nothing. Neither knows what the frames are used for.
"""
