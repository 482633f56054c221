"""Form of a settings dataclass: one field each, with its default, its limits and its meaning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from magicgui.widgets import Container, create_widget

from ...settings import settings_of
from .number_field import number_options

__all__ = ["settings_form"]


def settings_form(
    config: type, choices: Mapping[str, Sequence[str]] | None = None, leave_out: Sequence[str] = ()
) -> Any:
    """Make a form of a settings dataclass.

    Parameters
    ----------
    config : type
        See :mod:`napari_cln.settings`.
    choices : mapping of str to sequence of str, optional
        Words to offer for a text, by the name of its setting.
    leave_out : sequence of str
        Settings that have a field of their own elsewhere.

    Returns
    -------
    Container
        Of magicgui; ``form.epochs.value`` is a setting, and ``form.asdict()`` all of them.
    """
    numbers = number_options(config)
    offered = choices or {}
    fields = []
    for setting in settings_of(config):
        if setting.name in leave_out:
            continue
        words = tuple(offered.get(setting.name, setting.choices))
        fields.append(
            create_widget(
                value=setting.default,
                annotation=Literal[words] if words else setting.kind,
                name=setting.name,
                options={"tooltip": setting.text, **numbers.get(setting.name, {})},
            )
        )
    return Container(widgets=fields)
