"""Anatomy of the neck as a linear probe sees it: what lies around the nodes, and what mimics them.

Three views: transverse at the thyroid, transverse at the side of the neck, and along the
vessels. Vessels, muscle bundles and nerves are in every frame, with or without a node.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .tissue import STEP_MM, Contour, Tissue, ellipse, smooth_noise, wave

FAT_DB, MUSCLE_DB, THYROID_DB, SKIN_DB, FLUID_DB, NERVE_DB = -9.0, -8.0, 3.0, 5.0, -60.0, -8.0
VESSEL_BELOW_DB = -14.0
"""Darker than any solid tissue: a nerve passes beside a vessel, not through it."""
BLOOD_GAIN_DB = -0.45
"""Blood attenuates less than the compensation expects: tissue behind a vessel is enhanced."""


@dataclass
class Neck:
    """A neck being drawn.

    Parameters
    ----------
    tissue : Tissue
    structures : dict of str to list of Contour
        Every structure with a contour, by name.
    deep_top : ndarray of float32, shape (X,)
        Where the deep neck begins, under the sternocleidomastoid: nodes lie there.
    blocked : list of Contour
        Where no node can lie: vessels, airway, bone and their shadows.
    """

    tissue: Tissue
    structures: dict[str, list[Contour]] = field(default_factory=dict)
    deep_top: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    blocked: list[Contour] = field(default_factory=list)

    def add(self, name: str, contour: Contour, *, block: bool = True) -> None:
        """Enter a structure under its name."""
        self.structures.setdefault(name, []).append(contour)
        if block:
            self.blocked.append(contour)


def draw_neck(rng: np.random.Generator, depth_mm: float, width_mm: float) -> Neck:
    """Draw a neck without nodes.

    Parameters
    ----------
    rng : Generator
    depth_mm, width_mm : float
        Field of view.
    """
    neck = Neck(Tissue(depth_mm, width_mm))
    view = rng.choice(["thyroid", "lateral", "longitudinal"], p=[0.45, 0.3, 0.25])
    medial_right = bool(rng.random() < 0.5)
    draw_layers(rng, neck, along=view == "longitudinal", medial_right=medial_right)
    if view == "longitudinal":
        _draw_long_vessels(rng, neck)
    else:
        start = rng.uniform(-4, 5) if view == "thyroid" else rng.uniform(-20, -13)
        _draw_cross_section(rng, neck, start, medial_right)
    return neck


def draw_layers(rng: np.random.Generator, neck: Neck, *, along: bool, medial_right: bool) -> None:
    """Draw skin, fat, the sternocleidomastoid and the loose tissue under it."""
    tissue = neck.tissue
    x, depth = tissue.lateral, tissue.depth_mm
    # Loose tissue lies in sheets: it varies faster with depth than along the skin.
    for grain, deviation in (((160, 120), 1.8), ((30, 90), 2.0), ((12, 25), 1.2)):
        tissue.echo_db += smooth_noise(rng, tissue.shape, grain) * np.float32(deviation)
    skin = rng.uniform(0.9, 1.6) + wave(rng, x, 0.05)
    fat = skin + rng.uniform(1.5, 2.0 + 0.08 * depth) + wave(rng, x, 0.35, rng.uniform(-0.03, 0.03))
    fat = np.maximum(fat, skin + 0.8)
    # The sternocleidomastoid thins out towards its border.
    thickest = rng.uniform(0.2, 0.5) * tissue.width_mm
    thickest = thickest if medial_right else tissue.width_mm - thickest
    profile = 1 - ((x - thickest) / (tissue.width_mm * rng.uniform(0.6, 0.95))) ** 2
    muscle = fat + rng.uniform(0.14, 0.24) * depth * (np.ones_like(x) if along else np.clip(profile, 0.06, 1))
    muscle = (muscle + wave(rng, x, 0.4)).astype(np.float32)
    muscle = np.maximum(muscle, fat + 0.5)
    zero = np.zeros_like(x)

    texture = smooth_noise(rng, tissue.shape, (12, 40))
    for name, top, bottom, level in (
        ("skin", zero, skin, SKIN_DB),
        ("subcutaneous fat", skin, fat, FAT_DB),
        ("sternocleidomastoid", fat, muscle, MUSCLE_DB + float(rng.uniform(-1, 1))),
    ):
        where = tissue.layer(top, bottom)
        tissue.echo_db[where] = level + texture[where]
        neck.add(name, _band(x, top, bottom), block=False)
    tissue.reflectors[: int(rng.integers(3, 7))] = 4.0
    tissue.curve(rng, skin, 2.0, 0.1)
    tissue.curve(rng, fat, 4.5, 0.15)
    tissue.curve(rng, fat - np.float32(0.7), 1.2, 0.1)
    tissue.curve(rng, muscle, 4.5, 0.15)
    length, slope = ((5.0, 16.0), 0.02) if along else ((1.5, 5.0), 0.0)
    bundle = tissue.layer(fat + np.float32(0.5), muscle)
    tissue.streaks(rng, bundle, density=0.9, length_mm=length, amplitude=1.5, slope=slope)
    tissue.streaks(rng, tissue.layer(skin, fat), density=0.35, length_mm=(3, 10), amplitude=2.6)
    deep = tissue.layer(muscle, np.full_like(x, depth))
    tissue.streaks(rng, deep, density=0.22, length_mm=(1.5, 8), amplitude=4.0)
    neck.deep_top = muscle
    for _ in range(int(rng.integers(1, 4))):
        height = muscle + rng.uniform(0.15, 0.7) * (depth - muscle) + wave(rng, x, 0.9)
        tissue.curve(rng, height.astype(np.float32), float(rng.uniform(1.5, 3.5)), 0.15)


def _draw_cross_section(rng: np.random.Generator, neck: Neck, start: float, medial_right: bool) -> None:
    """Airway, thyroid, carotid, jugular, muscles and nerves, from medial to lateral."""
    tissue = neck.tissue
    width, depth = tissue.width_mm, tissue.depth_mm

    def at(lateral: float) -> float:
        return width - lateral if medial_right else lateral

    def top(lateral: float) -> float:
        return float(np.interp(at(lateral), tissue.lateral, neck.deep_top))

    _draw_deep_muscles(rng, neck, at, start)
    lobe = start + rng.uniform(10, 14)
    if lobe > 2:
        radii = (rng.uniform(5, 8), rng.uniform(5, 7.5))
        centre = (max(top(lobe), 3.5) + radii[0] + rng.uniform(0.8, 2), at(lobe))
        contour = ellipse(centre, radii, rng.uniform(-0.25, 0.25))
        tissue.fill(contour, THYROID_DB)
        tissue.wall(rng, contour, 2.2)
        neck.add("thyroid", contour)
        strap = ellipse((centre[0] - radii[0] - 1.0, at(lobe - 1)), (1.0, 9.0), rng.uniform(-0.08, 0.08))
        _draw_muscle(rng, neck, strap)
    if start > -5:
        radius = rng.uniform(8, 10)
        _draw_trachea(rng, neck, (top(max(start - 6, 0)) + radius + 1.0, at(start - 6)), radius)
    carotid = start + rng.uniform(19.5, 22)
    radius = rng.uniform(2.6, 3.7)
    carotid_depth = min(top(carotid) + radius + rng.uniform(2.0, 8), depth - radius - 2.5)
    _draw_vessel(
        rng, neck, "carotid", ellipse((carotid_depth, at(carotid)), (radius, radius * rng.uniform(0.95, 1.1)))
    )
    radii = (rng.uniform(1.4, 3.8), rng.uniform(3.4, 5.8))
    lateral = carotid + radius + radii[1] * rng.uniform(0.75, 1.1) + 0.8
    jugular = (max(top(lateral) + radii[0] + 0.7, carotid_depth - rng.uniform(0.5, 4)), at(lateral))
    if jugular[0] + radii[0] < depth - 1:
        _draw_vessel(rng, neck, "jugular", ellipse(jugular, radii, rng.uniform(-0.3, 0.3)), thin=True)
    for _ in range(int(rng.integers(1, 4))):
        spot = (rng.uniform(carotid_depth - 1, depth - 3), at(carotid + rng.uniform(5, 20)))
        _draw_nerve(rng, neck, spot, rng.uniform(0.8, 1.7))


def _draw_long_vessels(rng: np.random.Generator, neck: Neck) -> None:
    """Carotid and at times jugular cut along their length."""
    tissue = neck.tissue
    x = np.linspace(-5, tissue.width_mm + 5, 90)
    tilt = rng.uniform(-0.1, 0.1)
    free = tissue.depth_mm - float(neck.deep_top.max())
    middle = float(neck.deep_top.max()) + rng.uniform(0.45, 0.8) * free
    radius = min(rng.uniform(2.4, 3.5), free / 4)
    for name, offset, half in (("carotid", 0.0, radius), ("jugular", -rng.uniform(5.5, 8), radius * 0.8)):
        centre = middle + offset + tilt * (x - tissue.width_mm / 2) + 0.4 * np.sin(x / rng.uniform(6, 12))
        if name == "jugular" and (rng.random() < 0.5 or centre.min() - half < neck.deep_top.max() + 0.5):
            continue
        contour = np.column_stack(
            [np.concatenate([centre - half, (centre + half)[::-1]]), np.concatenate([x, x[::-1]])]
        )
        _draw_vessel(rng, neck, name, contour, thin=name == "jugular")
    if rng.random() < 0.6:
        under = middle + 3  # below the frame in the shallowest of views, where the muscle is not seen
        spot = (rng.uniform(under, max(under, tissue.depth_mm)), rng.uniform(0, tissue.width_mm))
        _draw_muscle(
            rng, neck, ellipse(spot, (rng.uniform(1.5, 3), rng.uniform(7, 14)), rng.uniform(-0.15, 0.15))
        )


def _draw_vessel(
    rng: np.random.Generator, neck: Neck, name: str, contour: Contour, *, thin: bool = False
) -> None:
    tissue = neck.tissue
    tissue.fill(contour, FLUID_DB, loss_db=BLOOD_GAIN_DB)
    # Reverberation of the near wall: the lumen is never black right under it.
    rows, columns = tissue.indices(contour)
    below = (rows - rows.min()) * 0.05
    tissue.echo_db[rows, columns] = np.maximum(FLUID_DB, -18 - 6 * below + float(rng.uniform(-6, 4)))
    tissue.wall(rng, contour, 2.2 if thin else 4.5, diffuse=0.04 if thin else 0.08)
    if not thin:
        centre = contour.mean(axis=0)
        tissue.wall(rng, centre + (contour - centre) * (0.86, 1.0), 1.4, diffuse=0.0)
        draw_edge_shadows(tissue, contour)
    neck.add(name, contour)


def draw_edge_shadows(tissue: Tissue, contour: Contour) -> None:
    """A round wall bends the beam away: thin shadows hang from both its sides."""
    row, rows = int(contour[:, 0].mean() / STEP_MM[0]), round(3 / STEP_MM[0])
    for edge in (contour[:, 1].min(), contour[:, 1].max()):
        column = int(edge / STEP_MM[1])
        tissue.loss_db[row : row + rows, max(0, column - 2) : max(0, column + 3)] = 1.3


def _draw_muscle(rng: np.random.Generator, neck: Neck, contour: Contour, *, block: bool = False) -> None:
    """Muscle bundle: dark, striated, in a bright sheath. The likest thing to a node."""
    tissue = neck.tissue
    tissue.fill(contour, MUSCLE_DB + float(rng.uniform(-1.5, 1)))
    where = np.zeros(tissue.shape, dtype=bool)
    where[tissue.indices(contour)] = True
    tissue.streaks(rng, where, density=0.9, length_mm=(0.8, 3), amplitude=2.8)
    tissue.wall(rng, contour, 2.6, diffuse=0.06)
    neck.add("muscle", contour, block=block)


def _draw_deep_muscles(
    rng: np.random.Generator, neck: Neck, at: Callable[[float], float], start: float
) -> None:
    tissue = neck.tissue
    depth = tissue.depth_mm
    longus = ellipse(
        (depth - rng.uniform(0, 3), at(start + rng.uniform(16, 22))),
        (rng.uniform(2.5, 4.5), rng.uniform(5, 8)),
    )
    _draw_muscle(rng, neck, longus)
    for _ in range(int(rng.integers(1, 3))):
        spot = (rng.uniform(0.62, 0.95) * depth, at(start + rng.uniform(30, 48)))
        _draw_muscle(
            rng, neck, ellipse(spot, (rng.uniform(2, 4), rng.uniform(3.5, 7)), rng.uniform(-0.5, 0.5))
        )
    if depth > 30 and rng.random() < 0.6:
        lateral = at(start + rng.uniform(17, 32))
        bone = ellipse((depth + 1.0, lateral), (rng.uniform(3, 6), rng.uniform(4, 8)))
        tissue.fill(bone, -30, loss_db=6.0)
        tissue.wall(rng, bone, 9.0)
        neck.add("bone", bone)


def _draw_trachea(rng: np.random.Generator, neck: Neck, centre: tuple[float, float], radius: float) -> None:
    tissue = neck.tissue
    contour = ellipse(centre, (radius, radius * 1.05))
    tissue.fill(contour, -6.0, loss_db=2.6)
    # Gas under cartilage: a bright arc, then its echoes at equal distances, then darkness.
    for k, level in enumerate((8.0, 5.0, 3.0, 1.8)):
        tissue.wall(
            rng, ellipse((centre[0] + 0.3 + 1.7 * k, centre[1]), (radius, radius * 1.02)), level, diffuse=0.02
        )
    low = [[tissue.depth_mm, contour[:, 1].max()], [tissue.depth_mm, contour[:, 1].min()]]
    shadow = np.vstack([ellipse(centre, (radius, radius * 1.05), n=60)[30:], low])
    neck.add("trachea", contour)
    neck.blocked.append(shadow)


def _draw_nerve(rng: np.random.Generator, neck: Neck, spot: tuple[float, float], radius: float) -> None:
    """Nerve root: a small dark disc with a bright sheath."""
    contour = ellipse(spot, (radius, radius * rng.uniform(1, 1.5)))
    if neck.tissue.echo_db[neck.tissue.indices(contour)].min(initial=0) < VESSEL_BELOW_DB:
        return
    neck.tissue.fill(contour, NERVE_DB)
    neck.tissue.wall(rng, contour, 2.0, diffuse=0.15)
    neck.add("nerve", contour)


def _band(x: NDArray[np.float32], top: NDArray[np.float32], bottom: NDArray[np.float32]) -> Contour:
    edge = np.concatenate([[0.0], x, [x[-1] + 0.1]])
    upper, lower = np.pad(top, 1, mode="edge"), np.pad(bottom, 1, mode="edge")
    return np.column_stack([np.concatenate([upper, lower[::-1]]), np.concatenate([edge, edge[::-1]])]).astype(
        np.float64
    )
