"""Whether the score map points at what matters: ``python benchmarks/explanation.py``.

A deletion curve (Petsiuk et al., RISE, BMVC 2018) on simulated frames whose node the model scores as
malignant. Cells of 8 pixels of the network's input are painted over with the local mean of the tissue,
while the node's mask stays as it was; the fall of the logit is compared between the cells that the map
calls strongest, weakest, and cells taken at random.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from napari_cln.imaging.preprocessing import prepare, to_model
from napari_cln.network.explanation import contributions
from napari_cln.network.inference import Segmenter
from napari_cln.network.model import shares_of
from napari_cln.phantom import simulate
from napari_cln.study.statistics.intervals import median_interval

SHARES = (0.1, 0.25, 0.5)
"""How many cells are painted over, as a share of those of the node and its rim."""
ORDERS = ("strongest", "random", "strongest of the node", "random of the node", "weakest of the node")
FIRST_SEED = 3_000_000


def painted(image: NDArray[np.float32], cells: NDArray[np.intp]) -> NDArray[np.float32]:
    """The image (S, S) with some cells of 8 pixels replaced by the mean of 41 pixels around each place."""
    grid = len(image) // 8
    chosen = np.zeros(grid * grid, dtype=bool)
    chosen[cells] = True
    over = chosen.reshape(grid, grid).repeat(8, 0).repeat(8, 1)
    return np.where(over, uniform_filter(image, 41), image).astype(np.float32)


def falls(segmenter: Segmenter, seed: int, rng: np.random.Generator) -> NDArray[np.float64] | None:
    """Fall of the logit, (SHARES, ORDERS), on one frame; None where no node is scored as malignant."""
    frame = simulate(seed).frame
    prepared = prepare(frame, segmenter.card.prepare)
    (prediction,) = segmenter.predict_prepared([frame], [prepared])
    if prediction.label != "malignant":
        return None
    network, image = segmenter.model, prepared.image
    node = int(np.argmax(prediction.node_scores)) + 1
    guide = torch.from_numpy(to_model(prediction.instances == node, prepared.geometry))[None, None]

    def logits(images: NDArray[np.float32]) -> NDArray[np.float64]:
        features = network.encode(torch.from_numpy(images)[:, None])
        scores = network.classify(features, guide.expand(len(images), -1, -1, -1))
        return (scores[:, 1] - scores[:, 0]).double().numpy()

    with torch.inference_mode():
        features = network.encode(torch.from_numpy(image)[None, None])
        strength = contributions(network, features, guide)[0].numpy().ravel()
        under = sum(share[0, 0].numpy().ravel() for share in shares_of(guide)) > 0
        grid = len(image) // 8
        tissue = image.reshape(grid, 8, grid, 8).max(axis=(1, 3)).ravel() > 0
        near, everywhere = np.flatnonzero(under), np.flatnonzero(tissue)
        images = [image]
        for share in SHARES:
            count = max(1, round(share * len(near)))
            for order in (
                np.argsort(-strength),
                rng.permutation(everywhere),
                near[np.argsort(-strength[near])],
                rng.permutation(near),
                near[np.argsort(strength[near])],
            ):
                images.append(painted(image, order[:count]))
        values = logits(np.stack(images))
    return (values[0] - values[1:]).reshape(len(SHARES), len(ORDERS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="default")
    parser.add_argument(
        "--frames", type=int, default=30, help="simulated frames to look for malignant nodes on"
    )
    options = parser.parse_args()
    segmenter, rng = Segmenter(options.model, "cpu"), np.random.default_rng(0)
    seeds = range(FIRST_SEED, FIRST_SEED + options.frames)
    found = [fall for seed in seeds if (fall := falls(segmenter, seed, rng)) is not None]
    if not found:
        print("No node was scored as malignant.")
        return
    table = np.array(found)  # (frames, shares, orders)
    print(f"Fall of the logit on {len(table)} frames, median with 95 % interval")
    for row, share in enumerate(SHARES):
        print(f"{share:.0%} of the node's and rim's number of cells painted over:")
        for column, order in enumerate(ORDERS):
            print(f"  {order:24}{median_interval(table[:, row, column])}")
        for one, other in ((0, 1), (2, 3)):
            wins = int((table[:, row, one] > table[:, row, other]).sum())
            print(f"  {ORDERS[one]} falls faster than {ORDERS[other]}: {wins}/{len(table)} frames")


if __name__ == "__main__":
    main()
