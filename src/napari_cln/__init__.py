"""Cervical lymph nodes on neck ultrasound: mask and malignancy score by a Y-Net, in napari and without it.

>>> import napari_cln
>>> frame = napari_cln.read_frame("neck.dcm")              # doctest: +SKIP
>>> prediction = napari_cln.segment(frame)                 # doctest: +SKIP
>>> prediction.mask.shape, prediction.malignancy           # doctest: +SKIP
((720, 960), 0.83)
>>> napari_cln.measure_nodes(prediction)[0].short_axis_mm  # doctest: +SKIP
6.4

For research, not for diagnosis.
"""

import os

import lazy_loader

# PyTorch's threads wait for each other some hundred times a frame. GNU OpenMP lets them spin
# meanwhile, and beside other busy processes, such as trainings, they spin where others would work: a
# frame took twenty times as long. Short spins cost nothing measurable on an idle machine.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
# NumPy's OpenBLAS lets its threads spin for 2 to the power of 26 cycles after each product, two per frame.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = "0.1.0"

del lazy_loader, os
