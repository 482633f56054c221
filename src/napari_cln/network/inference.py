"""From frames to predictions: device, batches, and the way back to the frame's own pixels."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import isfinite
from typing import Literal, TypeAlias, overload

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import DeviceError, FrameError, FrameReadError, PredictionError, WeightsError
from ..folder.dataset import as_recorded
from ..imaging.measurement import split_nodes
from ..imaging.preprocessing import Geometry, ModelInput, prepare, restore, to_model
from ..imaging.scan_area import is_sector
from ..io.sources import Source, as_frame, find_sources, read_frames
from ..models.card import DoubtModel, ModelCard
from ..types import CLASS_NAMES, Doubt, Frame, Prediction, PrepareConfig
from .device import Device, choose_device, compile_for
from .doubt import CLUES, clues_of, clues_of_node, doubt_of
from .ensemble import Ensemble
from .model import Features, Network
from .patches import chance_of_node, join_pieces, leave_out_others
from .stream import predict_stream
from .transfer import fetch_values, send_values
from .weights import load_model

__all__ = ["Device", "Segmenter", "choose_device", "segment", "segment_batch"]

NOT_FINITE = (
    "The model {} gave a number that is not finite for this frame, so that it has no mask and no score. "
    "Choose another model; where this one does so on other frames too, train it again: its weights are bad."
)


Found: TypeAlias = tuple[NDArray[np.float32], NDArray[np.uint8]]
"""Probability and node ids on a frame's own pixels."""


class Segmenter:
    """A network at work: loaded once, for any number of frames.

    Parameters
    ----------
    model : YNet, Ensemble, str or Path
        A network, or what :func:`load_model` takes.
    device : {"auto", "cpu", "cuda", "mps"}
    batch_size : int, optional
        Frames that go through the network together; by the device if None. Halved, for good,
        whenever the GPU's memory runs out.

    Raises
    ------
    WeightsError
        If there is no such model, it neither draws nor scores, or it is an ensemble without a card whose
        networks differ in their operating points.
    DeviceError
        If the device can't be had.
    """

    def __init__(
        self,
        model: Network | str | os.PathLike[str] = "default",
        device: str = "auto",
        batch_size: int | None = None,
    ) -> None:
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}: give 1 or more.")
        self.device = choose_device(device)
        network = model if isinstance(model, Network) else load_model(os.fspath(model))
        network = network.to(self.device.name).eval()
        if network.card is not None and network.card.is_pretrained_alone:
            raise WeightsError(
                f"{network.model_id} was pretrained on unlabelled frames, and neither draws nor scores. "
                "Start a training from it, and use what that makes."
            )
        if network.card is None and isinstance(network, Ensemble) and network.differ:
            raise WeightsError(
                f"The networks of this ensemble don't agree on their operating points ({network.differ}), "
                "and no card says which hold for all. Take the card of one of them, replace its name and "
                "cutoff, save the ensemble with it by save_model(ensemble, path, card), and use that."
            )
        self.model, self.device = compile_for(network, self.device)
        self.card = network.card or ModelCard(name="untrained", config=network.config)
        self.batch_size = batch_size or self.device.batch_size

    @overload
    def predict(
        self,
        frames: Iterable[Frame],
        prepared: Callable[[Frame], ModelInput] | None = None,
        spare_cores: int = 0,
    ) -> Iterator[Prediction | PredictionError]: ...

    @overload
    def predict(
        self,
        frames: Iterable[Frame | FrameReadError],
        prepared: Callable[[Frame], ModelInput] | None = None,
        spare_cores: int = 0,
    ) -> Iterator[Prediction | FrameError]: ...

    def predict(
        self,
        frames: Iterable[Frame | FrameReadError],
        prepared: Callable[[Frame], ModelInput] | None = None,
        spare_cores: int = 0,
    ) -> Iterator[Prediction | FrameError]:
        """Predict a stream of frames, in order.

        A frame for which the network gives a number that is not finite is a
        :class:`~napari_cln.errors.PredictionError` in its place; the others go on.

        While the network works, the next batch is read, in the caller's thread, and prepared, and the
        results of the one before are used; more is never in memory. On a processor several batches go
        through the network side by side; on an NVIDIA GPU some are brought back to their frames
        meanwhile. With a batch size of 1 nothing is read ahead.

        Parameters
        ----------
        frames : iterable of Frame or FrameReadError
            The error of a frame that could not be read comes out in its place.
        prepared : callable, optional
            How a frame becomes the network's input; as the model's card says if None.
        spare_cores : int
            Cores of the processor that PyTorch leaves to others, such as to a window that draws.
        """
        on_gpu = self.device.name == "cuda"
        yield from predict_stream(
            frames,
            prepared or self.prepare,
            self.predict_prepared,
            lambda: self.batch_size,
            side_by_side=on_gpu or (self.device.name == "cpu" and self.device.engine == "PyTorch"),
            on_gpu=on_gpu,
            spare_cores=spare_cores,
        )

    def prepare(self, frame: Frame, config: PrepareConfig | None = None) -> ModelInput:
        """Prepare a frame as every prediction does, wherever it comes from.

        Its scan area is the one that the user drew, else that of its record in a training folder, else it is
        searched for, within the regions of a DICOM file. Marks are looked for unless they were painted over.

        Parameters
        ----------
        frame : Frame
        config : PrepareConfig, optional
            As the model's card says if None.
        """
        return prepare(as_recorded(frame), config or self.card.prepare)

    def predict_prepared(
        self, frames: Sequence[Frame], inputs: Sequence[ModelInput]
    ) -> list[Prediction | PredictionError]:
        """Predict frames whose scan area or marks were corrected by hand.

        Parameters
        ----------
        frames : sequence of Frame
        inputs : sequence of ModelInput
            One for each frame, from :func:`prepare`.

        Returns
        -------
        list of Prediction or PredictionError
            The error of a frame for which the network gives a number that is not finite.

        Raises
        ------
        DeviceError
            If the GPU's memory does not hold even one frame.
        """
        try:
            return self._predict(frames, inputs)
        except torch.OutOfMemoryError as cause:
            if len(frames) == 1:
                raise DeviceError(
                    f"The memory of {self.device.reason} does not hold even one frame. "
                    "Close other programs that use it, or choose the device cpu."
                ) from cause
        if self.device.name == "cuda":
            torch.cuda.empty_cache()
        half = (len(frames) + 1) // 2
        self.batch_size = min(self.batch_size, half)
        return [
            *self.predict_prepared(frames[:half], inputs[:half]),
            *self.predict_prepared(frames[half:], inputs[half:]),
        ]

    @torch.inference_mode()
    def _predict(
        self, frames: Sequence[Frame], inputs: Sequence[ModelInput]
    ) -> list[Prediction | PredictionError]:
        images = np.stack([prepared.stacked for prepared in inputs])
        features = self.model.encode(send_values(images, self.device.name))
        maps, is_finite = self._mask(features, len(frames))
        found = [
            self._nodes(maps[row], item.geometry)
            if maps is not None and is_finite[row]
            else (np.zeros(frame.shape, np.float32), np.zeros(frame.shape, np.uint8))
            for row, (frame, item) in enumerate(zip(frames, inputs, strict=True))
        ]
        patches, chances, left_out = leave_out_others(
            self.model,
            features,
            [instances for _, instances in found],
            [item.geometry for item in inputs],
            self.card.min_node_chance,
        )
        found = [(probability, kept) for (probability, _), kept in zip(found, patches, strict=True)]
        # the frame's own score first, under all its nodes, then one for each node
        rows, guides = [], []
        for row, ((_, instances), item) in enumerate(zip(found, inputs, strict=True)):
            count = int(instances.max()) if self.model.config.guided else 0
            for mask in (instances > 0, *(instances == id_ for id_ in range(1, count + 1))):
                rows.append(row)
                guides.append(to_model(mask, item.geometry))
        scores = self._scores(features, np.stack(guides), np.array(rows))
        novelty = self._novelty(features, len(frames))
        whole = np.zeros((len(frames), *guides[0].shape), np.float32)
        of_frame = chance_of_node(self.model, features, whole, np.arange(len(frames)))
        predictions: list[Prediction | PredictionError] = []
        for row, (frame, item, (probability, instances)) in enumerate(
            zip(frames, inputs, found, strict=True)
        ):
            mine = scores[np.array(rows) == row]
            known = novelty[row]
            if not (is_finite[row] and np.isfinite(mine).all() and (known is None or isfinite(known))):
                predictions.append(PredictionError(NOT_FINITE.format(self.model.model_id)))
                continue
            own, *nodes = mine.tolist()
            clues: tuple[float, ...] = ()
            if maps is not None and self.model.config.knows_nothing:
                clues = clues_of(chances[row], float(of_frame[row]), left_out[row])
            doubts = _doubts(self.card.doubt, clues, chances[row], known, item.image)
            if not self.model.config.guided:
                nodes = [own] * int(instances.max())
            predictions.append(
                Prediction(
                    frame=frame,
                    probability=probability,
                    instances=instances,
                    node_scores=tuple(nodes),
                    class_probabilities={CLASS_NAMES[0]: 1 - own, CLASS_NAMES[1]: own},
                    model_id=self.model.model_id,
                    mask_threshold=self.card.mask_threshold if maps is not None else None,
                    cutoff=self.card.cutoff,
                    novelty=known,
                    clues=clues,
                    doubt=doubts[0] if doubts else None,
                    node_doubts=doubts[1:],
                    flow=item.flow,
                    notes=item.notes,
                    stiffness=item.stiffness_of(instances),
                )
            )
        return predictions

    def _mask(
        self, features: Features, n_frames: int
    ) -> tuple[NDArray[np.float32] | None, NDArray[np.bool_]]:
        """Probability of a node, (B, 256, 256), None for a network without a mask; and of each frame whether
        its logits are finite."""
        if not self.model.config.segmentation:
            return None, np.ones(n_frames, np.bool_)
        logits = self.model.decode(features)
        # of all ways to ask this the quickest: a fifteenth of isfinite() over the whole map
        ends = torch.stack([logits.flatten(1).amax(1), logits.flatten(1).amin(1)])
        probability, is_finite = fetch_values(logits.softmax(1)[:, 1], ends.isfinite().all(0))
        return probability, is_finite

    def _novelty(self, features: Features, n_frames: int) -> list[float] | list[None]:
        """Distance of each frame from the training data; None for a model that does not know."""
        novelty = self.model.novelty_of(features)
        if novelty is None:
            return [None] * n_frames
        values: list[float] = novelty.tolist()
        return values

    def _nodes(
        self, map_: NDArray[np.float32], geometry: Geometry
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Probability and node ids on the frame's own pixels."""
        probability = restore(map_, geometry)
        row0, column0, row1, column1 = geometry.box
        sides = np.array([row1 - row0, column1 - column0]) / geometry.model_shape
        pixels = (
            sides.max() ** 2 if geometry.keep_aspect else sides.prod()
        )  # of the frame in one of the map's
        threshold = 0.5 if self.card.mask_threshold is None else self.card.mask_threshold
        smallest = self.card.min_node_area * float(pixels)
        patches = split_nodes(probability, threshold, smallest, self.card.min_peak)
        if self.model.config.knows_nothing:
            patches = join_pieces(probability, patches, threshold)
        return probability, patches

    def _scores(
        self, features: Features, guides: NDArray[np.float32], rows: NDArray[np.intp]
    ) -> NDArray[np.float64]:
        """Calibrated malignancy, (M,), of the node under each guide in the frame of that row; NaN where
        the network's number is not finite."""
        logits = self.model.classify(
            features,
            send_values(guides[:, None], self.device.name),
            send_values(rows, self.device.name),
        )
        # on the CPU, since Apple's GPU has no float64
        logits = logits.cpu().double()
        scores: NDArray[np.float64] = (logits[:, :2] / self.card.temperature).softmax(1)[:, 1].numpy()
        scores[~logits.isfinite().all(1).numpy()] = np.nan
        return scores


def _doubts(
    model: DoubtModel | None,
    clues: tuple[float, ...],
    chances: NDArray[np.float64],
    novelty: float | None,
    image: NDArray[np.float32],
) -> tuple[Doubt, ...]:
    """Tell how far the result of a frame, and then of each node, is to be relied on; empty for a model that
    does not know."""
    if model is None or not len(clues) == len(CLUES) == len(model.found.mean):
        return ()
    sector = not model.knows_sectors and is_sector(image)
    of_nodes = [clues_of_node(clues, float(chance)) for chance in chances]
    asked = [(clues, len(chances) > 0), *((own, True) for own in of_nodes)]
    return tuple(doubt_of(model, own, found, novelty, is_sector=sector) for own, found in asked)


def segment(
    source: Source,
    model: Network | str | os.PathLike[str] = "default",
    device: str = "auto",
    *,
    index: int = 0,
) -> Prediction:
    """Find the nodes of one frame and score them.

    Parameters
    ----------
    source : path-like, Frame or ndarray
        An array is grey (H, W) or colour (H, W, 3 or 4).
    model : YNet, Ensemble, str or Path
        A name that :func:`list_models` knows, a ``.safetensors`` file, or a loaded network.
    device : {"auto", "cpu", "cuda", "mps"}
    index : int
        Which frame, where the source holds several.

    Returns
    -------
    Prediction
        Probabilities float32 (H, W) in the frame's own size, a score in [0, 1] for each node.

    Raises
    ------
    FrameReadError, WeightsError, DeviceError
    PredictionError
        If the network gives a number that is not finite.

    Examples
    --------
    >>> prediction = segment("neck.png")              # doctest: +SKIP
    >>> prediction.label, round(prediction.malignancy, 2)  # doctest: +SKIP
    ('malignant', 0.83)
    """
    frame = as_frame(source, index)
    (outcome,) = Segmenter(model, device, batch_size=1).predict([frame])
    if isinstance(outcome, PredictionError):
        raise outcome
    return outcome


def segment_batch(
    sources: Iterable[Source],
    model: Network | str | os.PathLike[str] = "default",
    device: str = "auto",
    *,
    batch_size: int | None = None,
    on_error: Literal["raise", "yield"] = "raise",
) -> Iterator[Prediction | FrameError]:
    """Predict every frame of every source, in order, with constant memory.

    Parameters
    ----------
    sources : iterable of path-like, Frame or ndarray
        Paths may be files, folders and globs.
    model, device
        As in :func:`segment`.
    batch_size : int, optional
        By the device if None.
    on_error : {"raise", "yield"}
        ``"yield"`` hands out the error of a source that can't be read, or of a frame for which the
        network gives a number that is not finite, in its place, and goes on.

    Yields
    ------
    Prediction, FrameReadError or PredictionError
        As each batch finishes: progress is the iteration itself.

    Raises
    ------
    FrameReadError, PredictionError
        Of the first such frame, unless ``on_error`` is ``"yield"``.
    WeightsError, DeviceError
        If the model or the device can't be had.
    """
    for outcome in Segmenter(model, device, batch_size).predict(_frames(sources)):
        if on_error == "raise" and not isinstance(outcome, Prediction):
            raise outcome
        yield outcome


def _frames(sources: Iterable[Source]) -> Iterator[Frame | FrameReadError]:
    """Every frame of every source; where one can't be read, the error and then the next source."""
    for source in sources:
        try:
            items: Sequence[Source] = (
                [source] if isinstance(source, Frame | np.ndarray) else find_sources(source)
            )
        except FrameReadError as error:
            yield error
            continue
        for item in items:
            try:
                yield from read_frames(item)
            except FrameReadError as error:
                yield error
