"""Pixels to pixels and sizes; numpy only."""
