"""``napari-cln doctor``."""

from __future__ import annotations

from .options import command

__all__ = ["tell_health"]


@command()
def tell_health() -> int:
    """Tell what is installed, and which device will be used and why."""
    from ..doctor import examine

    for line in examine():
        print(line)
    return 0
