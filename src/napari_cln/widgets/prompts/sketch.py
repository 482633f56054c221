"""Strokes of two ends on one frame, which can be moved until they are kept or left."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels, Layer, Vectors
from numpy.typing import NDArray
from qtpy.QtCore import QObject

from ..._layers import KEY, LayerKind, lay, layers_of, link, space_of
from ...compat.window import camera_of, text_overlay_of
from ..common.in_view import frame_at
from ..common.parts import Listeners, Signal
from ..common.turns import Stages, Turns

if TYPE_CHECKING:
    from napari.components import ViewerModel

Points = NDArray[np.float64]
Grip = tuple[str, int, int]
"""Name of a stroke; the end whose row moves, and the one whose column does."""

LINE, MARKED, OUTLINE = "#56b4e9", "#ffffff", "#f0e442"
REACH = 10.0
"""Pixels of the screen within which an end is taken hold of."""
TICK = 6.0
"""Half the length, in pixels of the screen, of the cross at an end."""
LEAST_PX = 3.0
"""A stroke that is shorter is a click."""
ARROWS = {"Up": (-1, 0), "Down": (1, 0), "Left": (0, -1), "Right": (0, 1)}
FAST = 10
"""Pixels of a step with Shift."""


class Sketch(QObject):
    """A layer for strokes that are only there until something is made of them.

    It is over when it is kept or left, and whenever something else comes in view: another frame, another
    layer, no dock. Then nothing of it is seen, and the mask is the active layer again, with its tool; the
    layer is kept for the next one, since napari takes 0.1 s to add another and longer to remove it.

    Parameters
    ----------
    viewer : ViewerModel
    image : napari.layers.Image
    labels : napari.layers.Labels
        The mask that is worked on.
    begin : callable
        Given whether Shift is held, the name of the stroke that a drag begins, or None.
    turns : Turns
        Clears it away.
    parent : QObject
        It ends with it.

    Attributes
    ----------
    strokes : dict of str to ndarray of float, shape (2, 2)
        Row and column of both ends of each, in pixels of the frame; those of ``"box"`` are its corners.
    outline : list of ndarray of float, shape (n, 2)
        Closed lines that are shown beside them.
    layer : napari.layers.Vectors
    """

    moved = Signal()  # an end, by mouse or key
    released = Signal(str)  # the stroke that the mouse has drawn or moved
    kept = Signal()  # Enter was pressed
    ended = Signal()  # once, when it is over

    def __init__(
        self,
        viewer: ViewerModel,
        image: Image,
        labels: Labels,
        begin: Callable[[bool], str | None],
        turns: Turns,
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        turns.finish()  # else what is left of a former one would clear this one away
        self._turns = turns
        self.strokes: dict[str, Points] = {}
        self.outline: list[Points] = []
        self._viewer, self._labels, self._begin = viewer, labels, begin
        self._image, self._index = image, frame_at(image, viewer)
        self._shape = image.data.shape[image.ndim - 2 : image.ndim]
        self._marked: Grip | None = None
        self.is_over = False
        overlay = text_overlay_of(viewer)
        self.layer = _layer_on(viewer, image)
        words, mode = (overlay.text, overlay.visible), str(labels.mode)
        self._clean = _once(partial(_clear, viewer, self.layer, labels, mode, words))
        viewer.layers.selection.active = self.layer
        self.layer.mouse_pan, self.layer.cursor = False, "cross"
        self.layer.mouse_drag_callbacks.append(self._drag)
        self._bind_keys()
        self._listeners = Listeners(self)
        self._listeners.listen(viewer.dims.events.current_step, self._look)
        self._listeners.listen(viewer.dims.events.ndisplay, self._look)
        self._listeners.listen(viewer.layers.selection.events.active, self._look)
        self._listeners.listen(viewer.layers.events.removed, self._look)
        self.destroyed.connect(self._clean)  # the dock was closed

    # ------------------------------------------------------------ what is shown

    def say(self, words: str) -> None:
        """Show a hint on the canvas."""
        overlay = text_overlay_of(self._viewer)
        overlay.text, overlay.visible = words, True

    def show(self) -> None:
        """Draw strokes, their ends, and the outline."""
        if self.is_over:
            return
        pieces: list[Points] = []
        colours: list[str] = []
        down, right = self._pixels(TICK) * np.eye(2)
        for name, (one, other) in self.strokes.items():
            lines = _rectangle(one, other) if name == "box" else np.array([[one, other]])
            pieces.append(lines)
            colours += [LINE] * len(lines)
            for grip, at in self._grips(name):
                cross = np.array([[at - down, at + down], [at - right, at + right]])
                pieces.append(cross)
                colours += [MARKED if grip == self._marked else LINE] * 2
        for line in self.outline:
            pieces.append(np.stack([line, np.roll(line, -1, axis=0)], axis=1))
            colours += [OUTLINE] * len(line)
        ends = np.concatenate(pieces) if pieces else np.zeros((0, 2, 2))
        self.layer.data = np.stack([ends[:, 0], ends[:, 1] - ends[:, 0]], axis=1)
        self.layer.edge_width = max(self._pixels(2.0), 0.2)
        if colours:
            self.layer.edge_color = colours

    # ------------------------------------------------------------ what is done

    def put(self, name: str, ends: Any) -> None:
        """Put a stroke there, and mark its second end."""
        self.strokes[name] = self._inside(np.asarray(ends, dtype=float))
        self._marked = (name, 1, 1)
        self.show()

    def step(self, rows: int, columns: int) -> None:
        """Move the marked end by some pixels; the first stroke begins in the middle of the view."""
        if self._marked is None:
            name = self._begin(False)
            if name is None:
                return
            middle = np.asarray(camera_of(self._viewer).center[-2:]) / self.layer.scale
            half = np.array([0.0, 0.1 * self._shape[1]])
            self.put(name, [middle - half, middle + half])
        else:
            self._move(self._marked, self._at(self._marked) + np.array([rows, columns]))
        self.moved.emit()

    def mark_next(self) -> None:
        """Mark the next end."""
        grips = [grip for name in self.strokes for grip, _ in self._grips(name)]
        if grips:
            at = grips.index(self._marked) if self._marked in grips else -1
            self._marked = grips[(at + 1) % len(grips)]
            self.show()

    def keep(self) -> None:
        """Ask for what is drawn to be taken."""
        if not self.is_over:
            self.kept.emit()

    def leave(self, *, at_once: bool = False) -> None:
        """Leave nothing behind; by default in the next turn, once napari has told all of what ends it."""
        if self.is_over:
            return
        self.is_over = True
        if at_once:
            self._clean()
        else:
            self._turns.begin(_clear_away(self._clean))
        self.ended.emit()
        self.deleteLater()

    # ------------------------------------------------------------ mouse and keys

    def _drag(self, layer: Vectors, event: Any) -> Generator[None, None, None]:
        if layer.mouse_pan or event.button != 1 or self.is_over:
            return
        at = self._inside(np.array([layer.world_to_data(event.position)[-2:]]))[0]
        grip = self._grip_at(at)
        former = {name: ends.copy() for name, ends in self.strokes.items()}
        is_new = grip is None
        if grip is None:
            name = self._begin("Shift" in event.modifiers)
            if name is None:
                return
            self.strokes.pop(name, None)
            self.strokes[name] = np.array([at, at])
            grip = (name, 1, 1)
        self._marked = grip
        self.show()
        yield
        while event.type == "mouse_move":
            self._move(grip, np.array(layer.world_to_data(event.position)[-2:]))
            self.moved.emit()
            yield
        if is_new and _length(self.strokes[grip[0]]) < LEAST_PX:
            self.strokes, self._marked = former, None
            self.show()
        else:
            self.moved.emit()
            self.released.emit(grip[0])

    def _bind_keys(self) -> None:
        layer = self.layer
        layer.bind_key("Enter", lambda _: self.keep())
        layer.bind_key("Escape", lambda _: self.leave())
        layer.bind_key("N", lambda _: self.mark_next())
        for key, (rows, columns) in ARROWS.items():
            layer.bind_key(key, lambda _, by=(rows, columns): self.step(*by))
            layer.bind_key(f"Shift-{key}", lambda _, by=(FAST * rows, FAST * columns): self.step(*by))

        def pan(layer: Vectors) -> Generator[None, None, None]:
            layer.mouse_pan = True
            yield
            layer.mouse_pan = False

        layer.bind_key("Space", pan)

    def _look(self, _event: Any = None) -> None:
        """End it where its frame, its image or its mask is no longer what is worked on."""
        layers = self._viewer.layers
        is_there = all(layer in layers for layer in (self.layer, self._image, self._labels))
        in_view = self._viewer.dims.ndisplay == 2 and frame_at(self._image, self._viewer) == self._index
        if not (is_there and in_view and layers.selection.active is self.layer):
            self.leave()

    # ------------------------------------------------------------ ends

    def _grips(self, name: str) -> list[tuple[Grip, Points]]:
        pairs = ((0, 0), (1, 1), (0, 1), (1, 0)) if name == "box" else ((0, 0), (1, 1))
        return [((name, *pair), self._at((name, *pair))) for pair in pairs]

    def _at(self, grip: Grip) -> Points:
        name, i, j = grip
        ends = self.strokes[name]
        return np.array([ends[i, 0], ends[j, 1]])

    def _grip_at(self, at: Points) -> Grip | None:
        known = [pair for name in self.strokes for pair in self._grips(name)]
        near = [(float(np.hypot(*(place - at))), grip) for grip, place in known]
        far, grip = min(near, default=(np.inf, None))
        return grip if far <= self._pixels(REACH) else None

    def _move(self, grip: Grip, to: Points) -> None:
        name, i, j = grip
        to = self._inside(to[None])[0]
        self.strokes[name][i, 0], self.strokes[name][j, 1] = to
        self.show()

    def _inside(self, points: Points) -> Points:
        return np.clip(points, 0, np.array(self._shape) - 1.0)

    def _pixels(self, on_screen: float) -> float:
        """Pixels of the frame that some pixels of the screen take."""
        scale = float(np.abs(self._image.scale[-2:]).min())
        return on_screen / max(float(camera_of(self._viewer).zoom) * scale, 1e-9)


def _layer_on(viewer: ViewerModel, image: Image) -> Vectors:
    """Return the layer for strokes on an image, shown and empty; added where there is none yet."""
    for known in layers_of(image, viewer.layers, LayerKind.SKETCH):
        if isinstance(known, Vectors):
            lay(known, space_of(image, 2))
            known.data, known.visible = np.zeros((0, 2, 2)), True
            return known
    layer = Vectors(
        np.zeros((0, 2, 2)),
        ndim=2,
        name=f"{image.name} · calipers",
        metadata={KEY: LayerKind.SKETCH},
        vector_style="line",
        **space_of(image, 2),
    )
    link(layer, image)
    viewer.add_layer(layer)
    return layer


def prepare_hint(viewer: ViewerModel) -> None:
    """Let napari make its text on the canvas, which takes some 0.2 s, before the first tool is taken."""
    overlay = text_overlay_of(viewer)
    if not overlay.visible:
        overlay.visible = True
        overlay.visible = False


def _once(action: Callable[[], None]) -> Callable[..., None]:
    """Call an action at the first call alone: what was put up since is not taken down."""
    waiting = [action]

    def call(*_: Any) -> None:
        if waiting:
            waiting.pop()()

    return call


def _clear_away(clean: Callable[[], None]) -> Stages:
    yield
    clean()
    yield


def _clear(
    viewer: ViewerModel,
    layer: Layer,
    labels: Labels,
    mode: str,
    words: tuple[str, bool],
) -> None:
    """Take a sketch off the canvas, and give the mask its tool back."""
    if layer in viewer.layers:
        was_active = viewer.layers.selection.active in (layer, None)
        layer.visible = False
        layer.keymap.clear()
        own = [
            call for call in layer.mouse_drag_callbacks if isinstance(getattr(call, "__self__", None), Sketch)
        ]
        for call in own:
            layer.mouse_drag_callbacks.remove(call)
        if was_active and labels in viewer.layers:
            viewer.layers.selection.active = labels
            labels.mode = mode
    overlay = text_overlay_of(viewer)
    overlay.text, overlay.visible = words


def _rectangle(one: Points, other: Points) -> Points:
    corners = np.array([one, (one[0], other[1]), other, (other[0], one[1])])
    return np.stack([corners, np.roll(corners, -1, axis=0)], axis=1)


def _length(ends: Points) -> float:
    return float(np.hypot(*(ends[1] - ends[0])))
