"""The Y-Net: model, weights, inference. Torch lives here."""
