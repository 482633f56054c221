"""Networks that only predict: the same answer in less time, by PyTorch or by another engine."""
