"""Model files: their cards, where they are found, and which one is in use.

Works without torch, so that a window can list models at once; weights are read in ``network``.
"""
