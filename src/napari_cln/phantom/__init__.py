"""Simulated neck frames with exact truth.

The echo is formed from scatterers (``speckle``) in a drawn neck (``tissue``, ``anatomy``) with
nodes whose signs overlap between the classes (``signs``, ``nodes``), and shown on the screen of
one of several machines (``machines``, ``screen``, ``overlay``); ``simulation`` puts it together.
A phantom is a test body and no substitute for a patient's frame.
"""

from .machines import MACHINES, Machine
from .perfusion import ContrastClip
from .screen import Screen, draw_calipers, draw_doppler_box, draw_text
from .signs import NodeSigns, draw_signs, malignancy_of
from .simulation import Phantom, simulate, simulate_cine

__all__ = [
    "MACHINES",
    "ContrastClip",
    "Machine",
    "NodeSigns",
    "Phantom",
    "Screen",
    "draw_calipers",
    "draw_doppler_box",
    "draw_signs",
    "draw_text",
    "malignancy_of",
    "simulate",
    "simulate_cine",
]
