"""A settings dataclass as a form: one field each, with its default, limits and help."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from magicgui.widgets import CheckBox, Container, Select, create_widget
from qtpy.QtWidgets import QLabel, QWidget

from ...compat.window import number_widget
from ...settings import Setting, settings_of
from .number_field import LARGEST_WHOLE, NumberField, check_numbers
from .parts import folded, form, stacked


class SettingsForm(QWidget):
    """The fields of a settings dataclass: a few in sight, the others folded away.

    Parameters
    ----------
    config : type
        A dataclass of settings, see :mod:`napari_cln.settings`.
    first : sequence of str
        Names of the rows in sight, in their order.
    more : str
        Title of the fold.
    own : mapping of str to QWidget
        Widgets of one's own, by name: of fields of the dataclass, or of rows beside it.
    titles : mapping of str to str, optional
        Titles of rows that are not called as their field.
    choices : mapping of str to sequence of str, optional
        Words to offer for a text, by the name of its setting.

    Attributes
    ----------
    fields : magicgui container
        The fields that have no widget of one's own.
    """

    def __init__(
        self,
        config: type,
        *,
        first: Sequence[str],
        more: str,
        own: Mapping[str, QWidget],
        titles: Mapping[str, str] | None = None,
        choices: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        super().__init__()
        self._config = config
        settings = {setting.name: setting for setting in settings_of(config)}
        words, made = choices or {}, [one for one in settings.values() if one.name not in own]
        self.fields: Any = Container(widgets=[_field(one, words.get(one.name, ())) for one in made])
        names = [*first, *(name for name in dict.fromkeys((*own, *settings)) if name not in first)]
        rows, others = form(), form()
        for name in names:
            widget = own[name] if name in own else self.fields[name].native
            title = QLabel((titles or {}).get(name, name.replace("_", " ").capitalize()))
            if isinstance(widget, NumberField):
                widget.title = title.text()
            if name in settings:
                for part in (title, widget):
                    part.setToolTip(settings[name].text)
            (rows if name in first else others).addRow(title, widget)
        inside = QWidget()
        inside.setLayout(others)
        stacked(self, rows, folded(more, inside))

    def value(self, **own: Any) -> Any:
        """Return the settings as they stand, with the values of one's own widgets.

        Raises
        ------
        InputError
            If a number was refused by its field.
        ClnError
            If the dataclass refuses the settings, for instance because two contradict each other.
        """
        check_numbers(self)
        given = self.fields.asdict().items()
        return self._config(**{k: tuple(v) if isinstance(v, list) else v for k, v in given}, **own)


def _field(setting: Setting, choices: Sequence[str]) -> Any:
    """Make the widget of a setting: a NumberField with its limits, a choice, or what magicgui has."""
    options: dict[str, Any] = {"tooltip": setting.text}
    if setting.is_number:
        whole = setting.kind is int
        usual = {"min": 0, "max": LARGEST_WHOLE} if whole else {"min": -math.inf, "max": math.inf}
        options |= {"widget_type": _WIDGETS[whole], **usual, **setting.bounds}
    words = tuple(choices or setting.choices)
    if setting.kind is tuple:
        several: Any = Select(name=setting.name, choices=words, tooltip=setting.text)
        several.native.setMaximumHeight(24 * len(words))
        return several
    hint: Any = Literal[words] if words else setting.kind
    made: Any = create_widget(value=setting.default, annotation=hint, name=setting.name, options=options)
    if isinstance(made, CheckBox):
        made.text = ""  # the title of its row says it
    return made


class _WholeField(NumberField):
    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent, whole=True)


# Made once: magicgui keeps each type of widget for good.
_WIDGETS = {False: number_widget(NumberField), True: number_widget(_WholeField)}
