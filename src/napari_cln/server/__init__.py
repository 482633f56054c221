"""The MONAI Label protocol for 3D Slicer, over a training folder and the models."""
