"""What starting costs: ``python benchmarks/startup.py``.

Each import runs in a process of its own, in turn with an empty one, so that a busy machine slows both.
"""

from __future__ import annotations

import subprocess
import sys
from statistics import median
from time import perf_counter

REPEATS = 9
STATEMENTS = {
    "import napari_cln": "import napari_cln",
    "the command line's options": "from napari_cln.cli import parse; parse(['phantom', '1', '--out', 'x'])",
    "reading a frame": "import napari_cln; napari_cln.read_frame",
    "import numpy, to compare": "import numpy",
    "import torch, to compare": "import torch",
}


def seconds(statement: str) -> float:
    started = perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return perf_counter() - started


def main() -> None:
    taken: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for _ in range(REPEATS):
        for name, statement in STATEMENTS.items():
            taken[name].append(seconds(statement) - seconds("pass"))
    print(f"median of {REPEATS} starts, less that of an empty Python")
    for name, values in taken.items():
        print(
            f"{name:30} {median(values) * 1000:6.0f} ms   ({min(values) * 1000:.0f}–{max(values) * 1000:.0f})"
        )


if __name__ == "__main__":
    main()
