"""The training folder: the truth about a study."""
