"""Commands of the docks as napari's actions: Preferences > Shortcuts shows their keys, and changes them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from napari.components import ViewerModel
from napari.settings import get_settings
from napari.utils.action_manager import action_manager
from napari.utils.notifications import show_info
from qtpy.QtCore import QObject
from qtpy.QtWidgets import QWidget

from ...compat.window import keys_of, on_key, plain_viewer

if TYPE_CHECKING:
    from collections.abc import MutableMapping

_deeds: MutableMapping[ViewerModel, dict[str, Callable[[], None]]] = WeakKeyDictionary()
_named: set[str] = set()


def offer(
    owner: QObject,
    viewer: ViewerModel,
    name: str,
    title: str,
    key: str,
    deed: Callable[[], None],
    button: QWidget | None = None,
) -> None:
    """Offer a command as an action of napari, for as long as its dock lives.

    The key is that of the user's own settings, where they hold one. With several viewers, an action is done
    by the dock of the one in which its key was pressed.

    Parameters
    ----------
    owner : QObject
        The dock.
    viewer : ViewerModel
    name : str
        Of the action, after ``napari-cln:``.
    title : str
        How Preferences call it.
    key : str
        As napari writes them, such as ``"Shift-A"``.
    deed : callable
    button : QWidget, optional
        Does the same; its tooltip names the key that holds now.
    """
    viewer, full = plain_viewer(viewer), f"napari-cln:{name}"
    deeds = _deeds.setdefault(viewer, {})
    deeds[full] = deed
    owner.destroyed.connect(partial(_withdraw, deeds, full, deed))
    if full not in _named:
        _named.add(full)
        _register(name, full, title, key)
    if button is not None:
        tell = partial(_tell_key, button, button.toolTip(), full)
        on_key(tell, button.destroyed)
        tell()


def _register(name: str, full: str, title: str, key: str) -> None:

    def command(viewer: ViewerModel) -> None:
        done = _deeds.get(plain_viewer(viewer), {}).get(full)
        done() if done is not None else show_info(f"{title}: open its napari-cln dock first.")

    command.__name__ = name
    action_manager.register_action(full, command, f"napari-cln: {title}", ViewerModel)
    own = get_settings().shortcuts.shortcuts.get(full)
    for one in [key] if own is None else own:
        action_manager.bind_shortcut(full, one)


def _tell_key(button: QWidget, tip: str, action: str, event: Any = None) -> None:
    if event is None or event.name == action:
        keys = " or ".join(keys_of(action))
        button.setToolTip(f"{tip} ({keys})" if keys else tip)


def _withdraw(deeds: dict[str, Callable[[], None]], name: str, deed: Callable[[], None]) -> None:
    if deeds.get(name) is deed:
        del deeds[name]
