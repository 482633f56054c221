"""The command ``napari-cln``: one small function a subcommand, which imports what it needs.

Exit codes: 0 when all went well, 1 when something failed (one sentence says what), 2 for wrong use.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .errors import ClnError

__all__ = ["main"]

DEVICES = ("auto", "cpu", "cuda", "mps")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments : sequence of str, optional
        As on the command line; that of this process by default.

    Returns
    -------
    int
        Exit code.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a file name may not fit the terminal
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except ClnError as error:
        print(f"napari-cln: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("napari-cln: stopped. The same command goes on where it stopped.", file=sys.stderr)
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    from . import __version__

    parser = argparse.ArgumentParser(
        prog="napari-cln",
        description="Cervical lymph nodes on neck ultrasound: mask and malignancy score. "
        "For research, not for diagnosis.",
    )
    parser.add_argument("--version", action="version", version=f"napari-cln {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    segment = commands.add_parser(
        "segment", help="masks, scores and sizes of every frame in files and folders"
    )
    segment.add_argument("paths", nargs="+", metavar="PATH", help="file, folder or quoted glob pattern")
    segment.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    segment.add_argument(
        "--model", default="default", help="name or .safetensors file (default: %(default)s)"
    )
    segment.add_argument("--device", choices=DEVICES, default="auto")
    segment.add_argument(
        "--batch-size", type=_positive, metavar="N", help="frames at a time (default: by device)"
    )
    segment.add_argument("--overlays", action="store_true", help="also draw the outlines, to look at")
    segment.add_argument("--redo", action="store_true", help="do again what an earlier run has done")
    segment.set_defaults(run=_segment, parser=segment)

    phantom = commands.add_parser("phantom", help="a training folder of simulated frames with exact truth")
    phantom.add_argument("n", type=_positive, metavar="N", help="number of frames")
    phantom.add_argument("--seed", type=int, default=0, help="same seed, same frames (default: %(default)s)")
    phantom.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to make")
    phantom.set_defaults(run=_phantom)

    doctor = commands.add_parser("doctor", help="what is installed, and which device will be used and why")
    doctor.set_defaults(run=_doctor)
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def _segment(options: argparse.Namespace) -> int:
    from glob import has_magic

    from tqdm import tqdm

    from .batch import segment_to_folder

    for path in options.paths:
        if not Path(path).exists() and not has_magic(path):
            options.parser.error(f"there is no file or folder {path}")
    n_done = n_kept = n_failed = 0
    layout = "{percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
    with tqdm(total=1.0, bar_format=layout, file=sys.stderr, disable=None) as bar:
        for result in segment_to_folder(
            options.paths,
            options.out,
            model=options.model,
            device=options.device,
            batch_size=options.batch_size,
            overlays=options.overlays,
            redo=options.redo,
        ):
            n_done += result.status == "ok"
            n_kept += result.status == "kept"
            n_failed += result.status == "failed"
            if result.status == "failed":
                bar.write(f"failed: {result.source}: {result.message}", file=sys.stderr)
            bar.set_postfix_str(f"{n_done} frames, {n_failed} failed", refresh=False)
            bar.update(result.progress - bar.n)
    kept = f", {n_kept} files done before" if n_kept else ""
    failed = f", {n_failed} failed (see the message column)" if n_failed else ""
    print(f"{n_done} frames segmented{kept}{failed}: {options.out / 'results.csv'}")
    return 1 if n_failed else 0


def _phantom(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from .folder.simulated import simulate_folder

    for _ in tqdm(simulate_folder(options.out, options.n, options.seed), total=options.n, disable=None):
        pass
    print(f"{options.n} simulated frames: {options.out}")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from .doctor import examine

    for line in examine():
        print(line)
    return 0
