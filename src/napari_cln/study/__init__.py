"""Numbers a clinician can publish: from a table of nodes to figures, comparisons and a report.

``matching`` makes the table (``cases``), everything after it needs nothing else. Takes cases and
predictions as plain values: it reads no training folder, runs no network, and works without torch.
"""
