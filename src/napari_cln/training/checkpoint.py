"""The state of a run, whole on disk, so that it goes on as if it had never stopped.

PyTorch's files are ZIP archives, whose checksums it writes and does not read. Here they are read, so that
a flipped bit is noticed. The checkpoint before the last is kept beside it: where the last is damaged, a
run goes on from there, and to the same end.
"""

from __future__ import annotations

import copy
import io
import math
import zipfile
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..disk.atomic import TEMPORARY, keep_former, write_atomically
from ..disk.schema import JsonObject
from ..errors import RunError
from ..network.model import Member
from .data import Samples
from .loss import Objective, Restoration
from .recipes import Recipe

__all__ = [
    "Average",
    "Progress",
    "find_state",
    "forget_former",
    "has_checkpoint",
    "load_weights",
    "plan_of",
    "put_back",
    "save_checkpoint",
    "save_weights",
]

LAST, FORMER, BEST = "checkpoint.pt", "former.pt", "best.pt"


class Average:
    """Running (exponential) average of a network's weights and batch statistics."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {key: value.detach().clone().float() for key, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights after a step; the first steps count more, to forget the start."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for key, value in network.state_dict().items():
            self.state[key].lerp_(value.float(), 1 - decay)

    def shared(self, like: Member) -> Member:
        """A network for evaluation that *is* the average: it changes as that does, without a copy a step."""
        alive = copy.deepcopy(like).requires_grad_(False).eval()
        alive.load_state_dict(self.state, assign=True)
        return alive

    def network(self, like: Member) -> Member:
        """A network for evaluation with the averaged weights, on the device of ``like``."""
        averaged = copy.deepcopy(like)
        averaged.load_state_dict(self.state)
        return averaged.eval()


@dataclass(kw_only=True)
class Progress:
    """Position of a run; stored in its checkpoint.

    Parameters
    ----------
    step : int
        Steps done.
    best : float
        Best validation so far, and ``waited`` the number of epochs since.
    seconds : float
        Time that the training took.
    sums, epoch_sums : dict
        Terms of the loss, summed since the last line of the log, and over the epoch until it is
        validated.
    """

    step: int = 0
    best: float = -math.inf
    waited: int = 0
    seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)
    epoch_sums: dict[str, float] = field(default_factory=dict)


def plan_of(
    recipe: Recipe,
    train: Samples,
    epochs: int,
    seed: int,
    unlabelled: Samples | None = None,
    start_from: Member | None = None,
) -> JsonObject:
    """Everything that a resumed run must share with the run before."""
    digest = sha256(train.stacked.tobytes() + train.instances.tobytes() + train.node_targets.tobytes())
    if unlabelled is not None:
        digest.update(unlabelled.stacked.tobytes())
    start = sha256()
    for value in start_from.state_dict().values() if start_from is not None else ():
        start.update(value.float().cpu().numpy().tobytes())
    return {
        "recipe": recipe.settings(),
        "epochs": epochs,
        "seed": seed,
        "frames": digest.hexdigest(),
        "start_from": start.hexdigest(),
    }


def save_weights(folder: Path, average: Average) -> None:
    """Write averaged weights as the best of a fold."""
    write_atomically(folder / BEST, _packed(average.state))


def load_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Read the best weights of a fold.

    Raises
    ------
    RunError
        If they are missing or damaged.
    """
    state: dict[str, torch.Tensor] = _read(folder / BEST)
    return state


def save_checkpoint(
    folder: Path,
    plan: JsonObject,
    objective: Objective | Restoration,
    optimizer: torch.optim.Optimizer,
    average: Average,
    progress: Progress,
) -> None:
    """Write the whole state of a run, and keep the one before; whoever reads meanwhile sees a whole one."""
    state = {
        "plan": plan,
        "network": objective.network.state_dict(),
        "heads": objective.heads.state_dict(),
        "optimizer": optimizer.state_dict(),
        "average": average.state,
        "progress": asdict(progress),
    }
    last = folder / LAST
    if last.is_file():
        kept = folder / f"{TEMPORARY}{FORMER}"
        kept.unlink(missing_ok=True)
        keep_former(last, kept)
        kept.replace(folder / FORMER)
    write_atomically(last, _packed(state))


def has_checkpoint(folder: Path) -> bool:
    """Tell whether a fold was begun, so that it can go on."""
    return any((folder / name).exists() for name in (LAST, FORMER))


def find_state(folder: Path, plan: JsonObject) -> tuple[JsonObject | None, list[str]]:
    """Find the state to go on from.

    Parameters
    ----------
    folder : Path
        Of the fold.
    plan : dict
        From :func:`plan_of`, of the run that wants to go on.

    Returns
    -------
    dict or None
        None where the fold has to start again: no checkpoint is whole, or the best weights, which no
        other file holds, are lost.
    list of str
        What is damaged, and what becomes of it.

    Raises
    ------
    RunError
        If there is no checkpoint, or it belongs to another plan.
    """
    if not has_checkpoint(folder):
        raise RunError("There is no checkpoint to resume from. Start the run without resume.")
    notes = []
    for name in (LAST, FORMER):
        try:
            state = _read(folder / name)
            former = {"start_from": plan.get("start_from")} | state["plan"]  # an earlier version kept none
            former["recipe"] = Recipe().settings() | former["recipe"]
            is_validated = state["progress"]["best"] > -math.inf
        except RunError as error:
            notes.append(str(error))
            continue
        except (KeyError, TypeError):
            notes.append(f"{folder.name}/{name} is no checkpoint of this version.")
            continue
        changed = [key for key, value in plan.items() if former.get(key) != value]
        if changed:
            raise RunError(
                f"This run can't be resumed: its {', '.join(changed)} changed since the checkpoint. "
                "Change it back, or start a new run."
            )
        if is_validated:
            try:
                load_weights(folder)
            except RunError as error:
                notes.append(f"{error} The fold starts again.")
                return None, notes
        if notes:
            notes[-1] += f" The fold goes on from step {state['progress']['step']}."
        return state, notes
    notes[-1] += " The fold starts again."
    return None, notes


def put_back(
    state: JsonObject, objective: Objective | Restoration, optimizer: torch.optim.Optimizer, average: Average
) -> Progress:
    """Put the state of a run back into its parts."""
    objective.network.load_state_dict(state["network"])
    objective.heads.load_state_dict(state.get("heads", {}))
    optimizer.load_state_dict(state["optimizer"])
    for key, value in state["average"].items():
        average.state[key].copy_(value)  # onto the device that it is on
    return Progress(**state["progress"])


def forget_former(folder: Path) -> None:
    """Remove the checkpoint before the last, once the fold has its model."""
    (folder / FORMER).unlink(missing_ok=True)


def _read(path: Path) -> Any:
    """Read a file of PyTorch's, each of its parts compared with its checksum."""
    name = f"{path.parent.name}/{path.name}"
    try:
        with zipfile.ZipFile(path) as parts:
            if parts.testzip() is None:
                return torch.load(path, weights_only=True, map_location="cpu")
    except FileNotFoundError as cause:
        raise RunError(f"{name} is missing.") from cause
    except Exception as cause:  # whatever a damaged archive makes zipfile, zlib, pickle or torch stumble over
        raise RunError(f"{name} is damaged.") from cause
    raise RunError(f"{name} is damaged.")


def _packed(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()
