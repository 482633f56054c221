"""The Train dock: a training run as a process of its own, and its outcome."""
