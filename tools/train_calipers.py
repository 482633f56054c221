"""Train the network that outlines a node from its caliper ends, measure it, and write it with its card.

::

    python tools/train_calipers.py --data ../shared/data

Breast lesions (BUSI's training part), simulated nodes, plain and varied, and real vessels (usgra) each give a
patch in the pose of the true axes, drawn once and kept in the cache. Training moves the ends by 0 to 10 % of
the long axis. Nerves are never trained on: they say when to stop, with the validation parts of the others.
``--leave-out breast`` trains and measures without an organ. Stop it at any time: the next start goes on.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from measure_calipers import MEASURED_AT, UNSEEN, axes_of, figures_of, moved, rows_of, sources, true_calipers
from napari_cln.imaging.calipers import HINTS, Calipers, Hint, Pose
from napari_cln.imaging.preprocessing import scan_of
from napari_cln.models.card import Figure, TrainingData
from napari_cln.network.outline import OutlineCard, OutlineNet, ellipse_logit, inputs_of, save_outline_net
from napari_cln.types import Frame

ROOT = Path(__file__).parents[1]
PATCH, REACH = 256, 3.4
"""Pixels of a patch's side, and half its side in halves of the long axis."""
SHARES = {"breast": 0.4, "simulated": 0.15, "simulated, varied": 0.2, "vessels": 0.25}
"""How often each organ is shown."""
BATCH, STEPS, EVERY = 48, 200, 25
WEIGHTS = (0.25, 0.5, 0.75, 1.0, 1.25)
"""What the network's word may count; nothing is always among the choices."""
BUSI = (
    "Al-Dhabyani et al., Dataset of breast ultrasound images, Data in Brief 28:104863, 2020. "
    "doi:10.1016/j.dib.2019.104863"
)
USGRA = "usgra-seg, github.com/tmkand/usgra-seg, examiner TMK, 2025"
OURS = "napari-cln contributors"
FARTHEST = 0.10
"""How far an end is moved at most, as a part of the long axis."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Patches:
    """Nodes in the pose of their true axes.

    Parameters
    ----------
    images, scanned, truths : ndarray of uint8, shape (N, 256, 256)
        Grey levels; 255 within the scan area; 255 within the node.
    ends : ndarray of float32, shape (N, 4, 2)
        Of the long axis and of the short one, in pixels of the patch.
    angles : ndarray of float32, shape (N,)
        By which the patch is turned against its frame.
    """

    images: NDArray[np.uint8]
    scanned: NDArray[np.uint8]
    truths: NDArray[np.uint8]
    ends: NDArray[np.float32]
    angles: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.images)

    @classmethod
    def of(cls, frames: Iterable[tuple[Frame, NDArray[np.uint8]]]) -> Patches:
        """Cut a patch for each id of each frame."""
        rows: list[tuple[NDArray[np.generic], ...]] = []
        for frame, instances in frames:
            tissue, (row0, column0, row1, column1) = scan_of(frame)
            scanned = np.zeros(frame.shape, np.float32)
            scanned[row0:row1, column0:column1] = 255
            for id_ in np.unique(instances[instances > 0]):
                mask = instances == id_
                if (true := true_calipers(mask)) is None:
                    continue
                pose = Pose.of(true, reach=REACH, side=PATCH)
                planes = (np.rint(pose.crop(one)).astype(np.uint8) for one in (tissue, scanned, mask * 255.0))
                ends = np.array([pose.in_crop(*end) for end in (*true.long_axis, *true.short_axis)])
                rows.append((*planes, ends, np.array(math.atan2(*pose.along))))
        kinds = (np.uint8, np.uint8, np.uint8, np.float32, np.float32)
        return cls(
            **{
                name: np.stack(column).astype(kind)
                for name, column, kind in zip(
                    cls.__annotations__, zip(*rows, strict=True), kinds, strict=True
                )
            }
        )

    @classmethod
    def cached(cls, path: Path, frames: Iterable[tuple[Frame, NDArray[np.uint8]]]) -> Patches:
        """Cut them, or take them from where they were kept."""
        if not path.is_file():
            part = path.with_suffix(".part.npz")
            np.savez(part, **vars(cls.of(frames)))
            part.replace(path)
        with np.load(path) as stored:
            return cls(**{name: stored[name] for name in stored.files})


def patches(data: Path, part: str, cache: Path) -> dict[str, Patches]:
    """Patches of a part by organ, through the cache."""
    found = {}
    for organ, frames in sources(data, part).items():
        found[organ] = Patches.cached(cache / f"{part}-{organ.replace(', ', '-')}.npz", frames)
        print(f"{part}: {len(found[organ])} of {organ}", flush=True)
    return found


# ------------------------------------------------------------ batches


@dataclass(frozen=True, kw_only=True)
class Crops:
    """Crops that hands posed: planes for the network, the ellipse's logit and the truth, (B, S, S) each."""

    planes: torch.Tensor
    ellipse: torch.Tensor
    truth: torch.Tensor


def crops_of(
    parts: Patches,
    chosen: NDArray[np.intp],
    hints: list[Hint],
    rng: np.random.Generator,
    *,
    far: float = FARTHEST,
    augment: bool = True,
) -> Crops:
    """Pose and look at some patches, each by a hand of its own."""
    maps, ellipses = [], []
    for index, hint in zip(chosen, hints, strict=True):
        turn = parts.angles[index] + (rng.normal(0, 0.4) if augment else 0.0)
        calipers = hand_on(parts, int(index), hint, rng, far, turn, exact=not augment)
        pose = Pose.of(calipers)
        maps.append(_affine(pose))
        ellipses.append(ellipse_logit(calipers.distance(*pose.in_frame())))
    flips = rng.integers(0, 2, (len(chosen), 2)) * 2 - 1 if augment else np.ones((len(chosen), 2))
    theta = torch.from_numpy(np.stack(maps)).float()
    theta[:, :, :2] *= torch.from_numpy(flips[:, None, :]).float()
    planes = np.stack([parts.images[chosen], parts.scanned[chosen], parts.truths[chosen]], axis=1)
    grid = F.affine_grid(theta, [len(chosen), 3, 128, 128], align_corners=False)
    shown = F.grid_sample(torch.from_numpy(planes).float(), grid, align_corners=False)
    ellipse = torch.from_numpy(np.stack(ellipses))
    for row, (x, y) in enumerate(flips):
        axes = [axis for axis, flip in ((1, x), (0, y)) if flip < 0]
        ellipse[row] = ellipse[row].flip(axes)
    scanned = (shown[:, 1] > 127).float()
    image = shown[:, 0] * scanned
    if augment:
        image = look(image, rng) * scanned
    return Crops(planes=inputs_of(image, scanned, ellipse), ellipse=ellipse, truth=(shown[:, 2] / 255))


def hand_on(
    parts: Patches, index: int, hint: Hint, rng: np.random.Generator, far: float, turn: float, *, exact: bool
) -> Calipers:
    """Calipers on a patch; a box stands upright in a frame that is turned by so much."""
    ends = parts.ends[index].astype(float)
    outline = np.argwhere(parts.truths[index] > 127).astype(float)
    if hint != "box":
        return moved(rng, ends, outline, hint, far, exact=exact)
    # the patch's columns run at this angle in the frame: turn it back, draw the box, and turn the box
    turned = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    calipers = moved(rng, ends @ turned.T, outline @ turned.T, hint, far, exact=exact)
    long_axis, short_axis = axes_of(np.array([*calipers.long_axis, *calipers.short_axis]) @ turned)
    row, column = (np.array(calipers.centre) @ turned).tolist()
    return Calipers(long_axis=long_axis, short_axis=short_axis, centre=(row, column), hint=hint)


def _affine(pose: Pose) -> NDArray[np.float64]:
    """Map (2, 3) from a crop to its patch, (x, y) in halves of their sides."""
    scale = pose.half / (PATCH / 2)
    row, column = pose.along
    middle = ((np.array(pose.centre) + 0.5) / (PATCH / 2) - 1)[::-1]
    return np.column_stack([scale * np.array([[column, -row], [row, column]]), middle])


def look(image: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """The same crops with the contrast, blur, slope of gain and speckle of another machine."""
    count, side = len(image), image.shape[-1]

    def per_crop(values: NDArray[np.floating]) -> torch.Tensor:
        return torch.from_numpy(values.astype(np.float32))[:, None, None]

    image = image / 255
    blurred = F.avg_pool2d(image[:, None], 5, stride=1, padding=2, count_include_pad=False)[:, 0]
    amount = per_crop(rng.uniform(-0.5, 1.0, count) * (rng.random(count) < 0.5))  # below 0: sharper
    image = (image + amount * (blurred - image)).clamp(0, 1)
    image = image ** per_crop(np.exp(rng.uniform(-0.4, 0.4, count)))
    at = torch.linspace(-1, 1, side)
    slope = (
        per_crop(rng.uniform(-0.3, 0.3, count)) * at[:, None] + per_crop(rng.uniform(-0.3, 0.3, count)) * at
    )
    speckle = torch.from_numpy(rng.standard_normal((count, side, side), np.float32))
    noise = per_crop(rng.uniform(0, 0.25, count) * (rng.random(count) < 0.4))
    return (image * (1 + slope) * (1 + noise * speckle)).clamp(0, 1) * 255


# ------------------------------------------------------------ training


def loss_of(network: OutlineNet, crops: Crops) -> torch.Tensor:
    """Cross-entropy and soft Dice of the corrected ellipse."""
    with torch.autocast("cpu", torch.bfloat16):
        change = network(crops.planes.contiguous(memory_format=torch.channels_last))[:, 0]
    logits = crops.ellipse + change.float()
    chance = logits.sigmoid()
    both = (chance * crops.truth).sum((1, 2))
    overlap = (2 * both + 1) / (chance.sum((1, 2)) + crops.truth.sum((1, 2)) + 1)
    return F.binary_cross_entropy_with_logits(logits, crops.truth) + (1 - overlap).mean()


@torch.inference_mode()
def changes_of(network: OutlineNet, crops: Crops) -> torch.Tensor:
    """The network's word on crops as they lie, (B, S, S)."""
    return torch.cat([network(planes)[:, 0] for planes in crops.planes.split(64)])


def overlaps(logits: torch.Tensor, truth: torch.Tensor) -> NDArray[np.float64]:
    """Dice of each crop."""
    found, true = logits > 0, truth > 0.5
    both = (found & true).sum((1, 2))
    return (2 * both / (found.sum((1, 2)) + true.sum((1, 2))).clamp_min(1)).double().numpy()


def validation_of(parts: Mapping[str, Patches]) -> dict[str, dict[Hint, Crops]]:
    """Every validation node with every hint, each end or side off by 5 %, always the same way."""
    return {
        organ: {
            hint: crops_of(
                part,
                np.arange(len(part)),
                [hint] * len(part),
                np.random.default_rng(7),
                far=MEASURED_AT,
                augment=False,
            )
            for hint in HINTS
        }
        for organ, part in parts.items()
    }


def gains(
    network: OutlineNet, validation: Mapping[str, Mapping[Hint, Crops]], weight: float = 1.0
) -> dict[str, float]:
    """Mean Dice less that of the ellipse, by organ, over all hints."""
    return {
        organ: float(
            np.mean(
                [
                    overlaps(crops.ellipse + weight * changes_of(network, crops), crops.truth)
                    - overlaps(crops.ellipse, crops.truth)
                    for crops in by_hint.values()
                ]
            )
        )
        for organ, by_hint in validation.items()
    }


def train(data: Path, cache: Path, left_out: str | None, steps: int) -> OutlineNet:
    """Train, or go on; the weights of the best checkpoint come back."""
    torch.set_num_threads(1)
    parts = {organ: part for organ, part in patches(data, "train", cache).items() if organ != left_out}
    validation = validation_of(patches(data, "validation", cache))
    unseen = {UNSEEN, left_out} - {None}
    torch.manual_seed(0)
    network = OutlineNet().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    averaged = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.97), use_buffers=True
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.1)
    kept = {"network": network, "averaged": averaged, "optimizer": optimizer, "schedule": schedule}
    folder = cache / f"without-{left_out}" if left_out else cache / "run"
    folder.mkdir(exist_ok=True)
    first, best = 0, -math.inf
    if (checkpoint := folder / "checkpoint.pt").is_file():
        state = torch.load(checkpoint, weights_only=False)
        first, best = state["step"], state["best"]
        for name, thing in kept.items():
            thing.load_state_dict(state[name])
    organs = list(parts)
    share = np.array([SHARES[organ] for organ in organs])
    started = time.monotonic()
    for step in range(first, steps):
        rng = np.random.default_rng((0, step))
        network.train()
        counts = rng.multinomial(BATCH, share / share.sum())
        batch = [
            crops_of(
                parts[organ],
                rng.integers(0, len(parts[organ]), count),
                [HINTS[k] for k in rng.choice(3, count, p=(0.4, 0.3, 0.3))],
                rng,
            )
            for organ, count in zip(organs, counts, strict=True)
            if count
        ]
        joined = Crops(**{name: torch.cat([vars(one)[name] for one in batch]) for name in vars(batch[0])})
        loss = loss_of(network, joined)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        averaged.update_parameters(network)
        if (step + 1) % EVERY:
            continue
        judged = averaged.module.eval()
        found = gains(judged, validation)
        known = float(np.mean([gain for organ, gain in found.items() if organ not in unseen]))
        score = (known + found[UNSEEN]) / 2
        if score > best:
            best = score
            torch.save(judged.state_dict(), folder / "best.pt")
        line = json.dumps(
            {
                "step": step + 1,
                "loss": round(loss.item(), 4),
                "score": round(score, 4),
                "seconds": round(time.monotonic() - started),
            }
            | {organ: round(gain, 4) for organ, gain in found.items()}
        )
        print(line, flush=True)
        with (folder / "log.jsonl").open("a") as log:
            log.write(line + "\n")
        torch.save(
            {"step": step + 1, "best": best} | {k: v.state_dict() for k, v in kept.items()}, checkpoint
        )
    network = OutlineNet()
    network.load_state_dict(torch.load(folder / "best.pt", weights_only=True))
    return network.eval()


def choose_weights(network: OutlineNet, validation: Mapping[str, Mapping[Hint, Crops]]) -> dict[str, float]:
    """Weight of the network's word by what was drawn: the best of those that harm no organ."""
    chosen = {}
    for hint in HINTS:
        crops = [by_hint[hint] for by_hint in validation.values()]
        changes = [changes_of(network, one) for one in crops]
        ellipses = [overlaps(one.ellipse, one.truth).mean() for one in crops]
        best = (0.0, 0.0)
        for weight in WEIGHTS:
            means = [
                float(overlaps(one.ellipse + weight * change, one.truth).mean() - of_ellipse)
                for one, change, of_ellipse in zip(crops, changes, ellipses, strict=True)
            ]
            if min(means) >= 0:
                best = max(best, (float(np.mean(means)), weight))
        chosen[str(hint)] = best[1]
    return chosen


def trained_on(parts: Mapping[str, Patches]) -> tuple[TrainingData, ...]:
    """What the card says about the training nodes."""
    simulated = "nodes of simulated {} necks (napari_cln.simulate)"
    said = {
        "breast": ("BUSI, training part: breast lesions, a stand-in for nodes", "CC BY 4.0 (article)", BUSI),
        "simulated": (simulated.format("plain"), "BSD-3-Clause", OURS),
        "simulated, varied": (simulated.format("varied"), "BSD-3-Clause", OURS),
        "vessels": ("usgra, training part: real vessels", "CC BY 4.0", USGRA),
    }
    return tuple(
        TrainingData(name=name, n=len(parts[organ]), licence=licence, citation=citation)
        for organ, (name, licence, citation) in said.items()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with busi_384 and usgra")
    parser.add_argument("--cache", type=Path, default=ROOT / "build" / "calipers")
    parser.add_argument("--out", type=Path, default=ROOT / "src" / "napari_cln" / "models" / "outline")
    parser.add_argument("--leave-out", choices=SHARES, help="train without it, measure on it alone")
    parser.add_argument("--steps", type=int, default=STEPS)
    arguments = parser.parse_args()
    arguments.cache.mkdir(parents=True, exist_ok=True)
    network = train(arguments.data, arguments.cache, arguments.leave_out, arguments.steps)
    validation = validation_of(patches(arguments.data, "validation", arguments.cache))
    validation.pop(arguments.leave_out, None)
    weights = choose_weights(network, validation)
    print(f"weights: {weights}", flush=True)
    figures: list[Figure] = []
    for organ, frames in sources(arguments.data, "test").items():
        if arguments.leave_out in (None, organ):
            found, lines = figures_of(organ, rows_of(frames, network, weights))
            figures += found
            print("\n".join(lines), flush=True)
    if arguments.leave_out is not None:
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    log = [json.loads(line) for line in (arguments.cache / "run" / "log.jsonl").read_text().splitlines()]
    kept = max(log, key=lambda line: line["score"])
    recipe = {"kept_step": kept["step"], "steps": log[-1]["step"], "batch": BATCH, "seed": 0}
    recipe |= {"shares": SHARES, "farthest": FARTHEST, "gains_in_validation": kept}
    card = OutlineCard(
        name="calipers",
        created=date.today().isoformat(),
        weights=weights,
        weights_from=f"validation parts of {', '.join(validation)}: the best of {WEIGHTS} that harms none in "
        f"the mean; {UNSEEN} were never trained on, and also said when to stop",
        trained_on=trained_on(patches(arguments.data, "train", arguments.cache)),
        recipe=recipe,
        figures=tuple(figures),
    )
    print(save_outline_net(network, arguments.out, card).model_id)


if __name__ == "__main__":
    main()
