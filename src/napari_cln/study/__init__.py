"""Numbers a clinician can publish; no torch."""
