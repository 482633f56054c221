"""Training the Y-Net on a training folder."""
