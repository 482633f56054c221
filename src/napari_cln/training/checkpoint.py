"""What a run needs to go on as if it had never stopped: its state, whole on disk."""

from __future__ import annotations

import copy
import io
import math
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..disk.atomic import write_atomically
from ..errors import RunError
from ..network.model import YNet
from .data import Samples
from .loss import Objective
from .recipes import Recipe

__all__ = ["Average", "Progress", "load_checkpoint", "plan_of", "save_checkpoint", "save_weights"]


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

    def network(self, like: YNet) -> YNet:
        """A network for evaluation with the averaged weights, on the device of ``like``."""
        averaged = copy.deepcopy(like)
        averaged.load_state_dict(self.state)
        return averaged.eval()


@dataclass(kw_only=True)
class Progress:
    """How far a run is; stored in its checkpoint.

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


def plan_of(recipe: Recipe, train: Samples, epochs: int, seed: int) -> dict[str, Any]:
    """What a resumed run must share with the run before."""
    digest = sha256(train.images.tobytes() + train.instances.tobytes() + train.node_targets.tobytes())
    return {"recipe": asdict(recipe), "epochs": epochs, "seed": seed, "frames": digest.hexdigest()}


def save_weights(path: Path, average: Average) -> None:
    """Write averaged weights."""
    write_atomically(path, _packed(average.state))


def save_checkpoint(
    path: Path,
    plan: dict[str, Any],
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    average: Average,
    progress: Progress,
) -> None:
    """Write the whole state of a run; whoever reads meanwhile sees the former one."""
    state = {
        "plan": plan,
        "network": objective.network.state_dict(),
        "heads": objective.heads.state_dict(),
        "optimizer": optimizer.state_dict(),
        "average": average.state,
        "progress": asdict(progress),
    }
    write_atomically(path, _packed(state))


def load_checkpoint(
    path: Path, plan: dict[str, Any], objective: Objective, optimizer: torch.optim.Optimizer, average: Average
) -> Progress:
    """Put the state of a run back into its parts.

    Raises
    ------
    RunError
        If there is none, or it belongs to another plan.
    """
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
    except FileNotFoundError as cause:
        raise RunError("There is no checkpoint to resume from. Start the run without resume.") from cause
    former = state["plan"] | {"recipe": asdict(Recipe()) | state["plan"]["recipe"]}  # steps added since
    changed = [key for key, value in plan.items() if former[key] != value]
    if changed:
        raise RunError(
            f"This run can't be resumed: its {', '.join(changed)} changed since the checkpoint. "
            "Change it back, or start a new run."
        )
    objective.network.load_state_dict(state["network"])
    objective.heads.load_state_dict(state.get("heads", {}))
    optimizer.load_state_dict(state["optimizer"])
    for key, value in state["average"].items():
        average.state[key].copy_(value)  # onto the device that it is on
    return Progress(**state["progress"])


def _packed(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()
