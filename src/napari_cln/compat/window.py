"""Private parts of napari, magicgui and Qt, and what differs between their releases.

===================== ===================================== ==============================================
here                  what it leans on                      goes
===================== ===================================== ==============================================
`plain_viewer`        ``PublicOnlyProxy.__wrapped__``       when napari hands docks the viewer itself
`grid_of`             ``viewer.canvas.grid``                with support of napari before 0.9
`fit_layers`          ``reset_view(layers=…)``              with support of napari before 0.9
`can_step`            ``Labels._undo_history``              when napari tells whether a layer can be undone
`exchange_strokes`    ``Labels._undo_history``              when napari can hand on a layer's history
`camera_of`           ``viewer.scene.camera``               with support of napari before 0.9
`text_overlay_of`     ``viewer.canvas.overlays.text``       with support of napari before 0.9
`canvases_of`         the canvas's ``QOpenGLWidget``        when a layer can answer the right button itself
`at_once`             ``viewer._on_layers_change``          when napari takes several changes as one
`make_canvas_current` the canvas's ``QOpenGLWidget``        when napari frees programs in their own context
`take_units`          pint's ``LazyRegistry``               when napari reads its units beside the window
`keys_of`, `on_key`   ``action_manager._shortcuts``         when napari tells the keys of an action
`number_widget`       magicgui's Qt backend                 when a field's Qt widget can be chosen there
===================== ===================================== ==============================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pint
from magicgui.application import use_app
from magicgui.widgets.bases import RangedWidget
from napari.utils.action_manager import action_manager
from napari.utils.interactions import Shortcut
from pint.registry import LazyRegistry
from qtpy.QtOpenGLWidgets import QOpenGLWidget
from qtpy.QtWidgets import QWidget

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Labels, Layer

__all__ = [
    "at_once",
    "camera_of",
    "can_step",
    "canvases_of",
    "exchange_strokes",
    "fit_layers",
    "grid_of",
    "keys_of",
    "make_canvas_current",
    "number_widget",
    "on_key",
    "plain_viewer",
    "read_units",
    "take_units",
    "text_overlay_of",
]


def plain_viewer(viewer: ViewerModel) -> ViewerModel:
    """Return the viewer behind the proxy that napari hands plugins.

    The proxy's layers are proxies too, another one at each access: a layer would not be itself.
    """
    plain: ViewerModel = getattr(viewer, "__wrapped__", viewer)
    return plain


def grid_of(viewer: ViewerModel) -> Any:
    """Return the viewer's grid, which moved in napari 0.9."""
    return getattr(viewer, "canvas", viewer).grid


def camera_of(viewer: ViewerModel) -> Any:
    """Return the viewer's camera, which moved in napari 0.9."""
    return getattr(viewer, "scene", viewer).camera


def text_overlay_of(viewer: ViewerModel) -> Any:
    """Return the viewer's text on the canvas, which moved in napari 0.9."""
    canvas = getattr(viewer, "canvas", None)
    return viewer.text_overlay if canvas is None else canvas.overlays.text


def fit_layers(viewer: ViewerModel, layers: Sequence[Image]) -> None:
    """Let the canvas show all of some layers; all layers where none is given, or before napari 0.9."""
    try:
        viewer.reset_view(layers=list(layers) or None)
    except TypeError:
        viewer.reset_view()


def can_step(labels: Labels, *, back: bool) -> bool:
    """Tell whether a layer has a stroke to undo, or to redo; napari (0.6 to 0.9) keeps its lists private."""
    return bool(getattr(labels, "_undo_history" if back else "_redo_history", ()))


def exchange_strokes(labels: Labels, other: Labels | None) -> None:
    """Give two layers each other's strokes that can be undone and redone; with no other, one has none."""
    for name in ("_undo_history", "_redo_history"):
        mine = getattr(labels, name)
        if other is None:
            mine.clear()
        else:
            setattr(labels, name, getattr(other, name))
            setattr(other, name, mine)


def canvases_of(widget: QWidget) -> list[QOpenGLWidget]:
    """Return the widgets that a window draws layers on.

    Parameters
    ----------
    widget : QWidget
        Any in the window.
    """
    return list(widget.window().findChildren(QOpenGLWidget))


@contextmanager
def at_once(viewer: ViewerModel, layers: Sequence[Layer]) -> Iterator[None]:
    """Let napari take several changes of layers as one: else it slices and measures all of them at each.

    Parameters
    ----------
    viewer : ViewerModel
    layers : sequence of Layer
        Those that change their data or their place.
    """
    notice = viewer._on_layers_change
    with ExitStack() as stack:
        for layer in layers:
            stack.enter_context(layer._block_refresh())
            for name in ("data", "scale", "translate", "rotate", "shear", "affine", "units"):
                emitter = getattr(layer.events, name, None)
                if emitter is not None:
                    stack.enter_context(emitter.blocker(notice))
        yield
        drawn: set[Layer] = set()
        for layer in layers:
            stack.enter_context(_noted(layer, drawn))
        notice()
    for layer in layers:
        if layer not in drawn:
            layer.refresh()


@contextmanager
def _noted(layer: Layer, drawn: set[Layer]) -> Iterator[None]:
    """Enter a layer that napari slices and draws meanwhile; it need not do so again."""

    def enter(_event: Any) -> None:
        drawn.add(layer)

    layer.events.set_data.connect(enter)
    try:
        yield
    finally:
        layer.events.set_data.disconnect(enter)


def make_canvas_current(widget: QWidget) -> None:
    """Let napari 0.9 free a layer's OpenGL programs in the canvas's own context.

    It frees them in whichever is current. That is Qt's, whenever a panel was drawn last, and the
    next draw then crashes the process (as in napari issue 8471): with Mesa's drivers, for instance,
    when a layer with text or shapes is deleted and the view changes.

    Parameters
    ----------
    widget : QWidget
        Any in the canvas's window.
    """
    for canvas in canvases_of(widget):
        if canvas.isValid():
            canvas.makeCurrent()


def read_units() -> Any:
    """Read pint's definitions of units, in a thread: napari's first layer would hold the window up for it."""
    return pint.UnitRegistry()


def take_units(units: Any) -> None:
    """Let napari use units that were read, where it has used none yet: those of two registries do not mix."""
    application: Any = pint.application_registry
    if isinstance(application.get(), LazyRegistry):
        application.set(units)


def keys_of(action: str) -> list[str]:
    """Return the keys of one of napari's actions, as they are written here, such as ``"Shift+A"``."""
    return [Shortcut(key).qt for key in action_manager._shortcuts.get(action, ())]


def on_key(changed: Callable[..., None], until: Any) -> None:
    """Be told when the keys of an action are changed, until a Qt signal is sent."""
    events = action_manager.events
    emitter = getattr(events, "shortcut_changed", None) or events.shorcut_changed  # as before napari 0.7
    emitter.connect(changed, until=until)


_Backend: Any = use_app().get_obj("FloatSpinBox")


class _NumberBackend(_Backend):  # type: ignore[misc]  # magicgui chooses the base
    """Answers to what magicgui asks of a number's widget, whichever Qt widget that is."""

    make: Callable[..., QWidget]

    def __init__(self, **kwargs: Any) -> None:
        # Past the base's own, which would make Qt's spin box.
        super(_Backend, self).__init__(type(self).make, **kwargs)

    def _mgui_set_value(self, value: float) -> None:
        self._qwidget.setValue(float(value))

    def _mgui_set_step(self, value: float) -> None:
        self._qwidget.setSingleStep(value)

    def _mgui_set_adaptive_step(self, value: bool) -> None:
        """Do nothing: steps are the same everywhere."""

    def _mgui_get_adaptive_step(self) -> bool:
        return False


def number_widget(make: Callable[..., QWidget]) -> type:
    """Return a magicgui widget of a number, shown by a Qt widget of one's own.

    Parameters
    ----------
    make : callable
        Makes the Qt widget from ``parent=…``. It answers to ``value``, ``setValue``, ``minimum``,
        ``setMinimum``, ``maximum``, ``setMaximum``, ``singleStep`` and ``setSingleStep``, and has a signal
        ``valueChanged``, as Qt's spin boxes do.
    """
    backend = type("NumberBackend", (_NumberBackend,), {"make": staticmethod(make)})

    class Number(RangedWidget):  # type: ignore[misc]  # magicgui is not typed here
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**{**kwargs, "widget_type": backend})

    return Number
