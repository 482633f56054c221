"""Tools on the canvas: what a reader draws on a frame for a moment, and what is made of it."""
