"""Settings of a job, written once: a dataclass is its form, its options, its record, and its limits.

A field says its kind and default; ``Annotated`` with :class:`msgspec.Meta` says its limits (``ge``, ``gt``,
``le``, ``lt``), the word for its value on the command line (``title``) and the step of its field in a form
(``extra={"step": …}``); the class's docstring says what it means. :func:`settings_of` reads all that, and
:func:`check_fields`, which each class calls when it is made, holds the limits in every entrance.

>>> from napari_cln.training.config import TrainConfig
>>> epochs = next(setting for setting in settings_of(TrainConfig) if setting.name == "epochs")
>>> epochs.option, epochs.default, epochs.wanted
('--epochs', 50, 'a whole number from 1 to 1000')
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from functools import lru_cache
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

import msgspec

MAX_SHOWN = 60
_NUMBERS: dict[type, str] = {int: "a whole number", float: "a number"}
_ROLE = re.compile(r":[a-z]+:`~?([^`]+)`")

Seed: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Share: TypeAlias = Annotated[float, msgspec.Meta(gt=0, lt=1, extra={"step": 0.01})]
"""A number between 0 and 1, neither of them."""


class SchemaError(ValueError):
    """A value that does not fit.

    Parameters
    ----------
    key : str
        Where it stands, such as ``config.width``; empty for the whole file.
    fault : str
        What is wrong with it, such as ``is NaN, and must be a number from 0 to 1``.
    """

    def __init__(self, key: str, fault: str) -> None:
        super().__init__(f"{key} {fault}".strip())
        self.key = key


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One field of a settings dataclass, as a form, a command and a record need it.

    Parameters
    ----------
    name : str
    kind : type
        ``int``, ``float``, ``bool``, ``str``, ``tuple`` for several of its choices, or another class.
    default : object
    choices : tuple of str
        The words that it takes; empty where it takes any.
    limits : msgspec.Meta
        ``ge``, ``gt``, ``le`` and ``lt`` of a number, each None where there is no such limit.
    hint : object
        The whole annotation.
    text : str
        What it means, from the docstring of the class, in one paragraph.
    """

    name: str
    kind: type
    default: Any
    choices: tuple[str, ...]
    limits: msgspec.Meta
    hint: Any
    text: str

    @property
    def option(self) -> str:
        """The option of the command, such as ``--batch-size``."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def wanted(self) -> str:
        """The kind and the limits in words, such as ``a whole number from 1 to 10``."""
        return wanted(self.hint)

    @property
    def range(self) -> str:
        """The limits in words, such as ``from 1 to 10``; empty for none."""
        return _range(self.limits).strip(" :")

    @property
    def is_number(self) -> bool:
        """True for a whole number or a number."""
        return self.kind in _NUMBERS

    @property
    def bounds(self) -> dict[str, float]:
        """Keywords ``min``, ``max`` and ``step`` of a number's field in a form, where they are said."""
        least = self.limits.ge if self.limits.ge is not None else self.limits.gt
        most = self.limits.le if self.limits.le is not None else self.limits.lt
        step = (self.limits.extra or {}).get("step")
        return {k: v for k, v in (("min", least), ("max", most), ("step", step)) if v is not None}


@lru_cache
def settings_of(kind: type) -> tuple[Setting, ...]:
    """Describe the fields of a settings dataclass, in their order.

    Parameters
    ----------
    kind : type
        A dataclass whose docstring has numpydoc Parameters.

    Returns
    -------
    tuple of Setting
    """
    texts: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        texts |= texts_of(each.__doc__)
    return tuple(
        setting_of(
            field.name,
            hints_of(kind)[field.name],
            None if field.default is MISSING else field.default,
            texts.get(field.name, ""),
        )
        for field in fields(kind)
    )


def setting_of(name: str, hint: Any, default: Any, text: str) -> Setting:
    """Describe one field, or one parameter of a function.

    Parameters
    ----------
    name : str
    hint : object
        Its annotation.
    default : object
    text : str
        What it means.
    """
    bare, limits = _split(hint)
    if get_origin(bare) in (Union, UnionType):  # one that may be None
        bare, inner = _split(next(part for part in get_args(bare) if part is not NoneType))
        limits = limits or inner
    is_list = get_origin(bare) is tuple
    one = get_args(bare)[0] if is_list else bare
    choices = get_args(one) if get_origin(one) is Literal else ()
    return Setting(
        name=name,
        kind=tuple if is_list else str if choices else bare,
        default=default,
        choices=choices,
        limits=limits or msgspec.Meta(),
        hint=hint,
        text=text,
    )


def texts_of(docstring: str | None) -> dict[str, str]:
    """Return what a numpydoc docstring says of each parameter, in one paragraph without markup."""
    from docstring_parser import DocstringStyle, parse

    texts: dict[str, str] = {}
    for part in parse(docstring or "", DocstringStyle.NUMPYDOC).params:
        text = _ROLE.sub(r"\1", " ".join((part.description or "").split())).replace("``", "")
        texts |= dict.fromkeys(part.arg_name.split(", "), text)
    return texts


def check_fields(settings: object) -> None:
    """Compare the fields of a dataclass with the kinds and ranges in its hints.

    Parameters
    ----------
    settings : dataclass
        Numbers of NumPy in it become plain ones.

    Raises
    ------
    SchemaError
        Of the first field that does not fit.
    """
    kind: Any = type(settings)
    for name, hint in hints_of(kind).items():
        value = _plain(getattr(settings, name))
        object.__setattr__(settings, name, value)
        try:
            msgspec.convert(value, hint)
        except msgspec.ValidationError as cause:
            raise SchemaError(name, f"is {shown(value)}, and must be {wanted(hint)}") from cause


def _plain(value: Any) -> Any:
    """A number of another library as a plain one; anything else as it is."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return value
    return int(value) if isinstance(value, Integral) else float(value)


@lru_cache
def hints_of(kind: type) -> Mapping[str, Any]:
    """Return the annotation of each field of a dataclass, with what ``Annotated`` adds."""
    names = {field.name for field in fields(kind)}
    hints = get_type_hints(kind, include_extras=True)
    return {name: hint for name, hint in hints.items() if name in names}


def wanted(hint: Any) -> str:
    """Put what an annotation takes into words, such as ``a whole number from 1 to 10``."""
    hint, meta = _split(hint)
    if meta is not None and meta.description:
        return str(meta.description)
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        parts = ["null" if part is NoneType else wanted(part) for part in inner]
        return " or ".join(parts)
    if origin is Literal:
        return " or ".join(shown(value) for value in inner)
    if hint in _NUMBERS:
        return _NUMBERS[hint] + _range(meta)
    if hint is bool:
        return "true or false"
    if hint is str:
        return "text" + (f" of at most {meta.max_length} characters" if meta and meta.max_length else "")
    if origin is tuple:
        if inner[-1] is not Ellipsis:
            return f"[{', '.join(wanted(part) for part in inner)}]"
        least = meta.min_length if meta and meta.min_length is not None else 0
        most = f" to {meta.max_length}" if meta and meta.max_length else " or more"
        return f"a list of {least}{most}, each {wanted(inner[0])}"
    return "an object"


def _split(hint: Any) -> tuple[Any, msgspec.Meta | None]:
    """An annotation as its kind and its limits."""
    if get_origin(hint) is not Annotated:
        return hint, None
    kind, *others = get_args(hint)
    return kind, next((each for each in others if isinstance(each, msgspec.Meta)), None)


def _range(meta: msgspec.Meta | None) -> str:
    if meta is None:
        return ""
    if meta.ge is not None and meta.ge == meta.le:
        return f": {meta.ge:g}"
    if meta.ge is not None and meta.le is not None:
        return f" from {meta.ge:.12g} to {meta.le:.12g}"
    words = {"at least": meta.ge, "above": meta.gt, "at most": meta.le, "below": meta.lt}
    said = [f"{word} {value:.12g}" for word, value in words.items() if value is not None]
    return f" {' and '.join(said)}" if said else ""


def shown(value: Any) -> str:
    """Return a value as it stands in a file of JSON, cut where it is long."""
    try:
        text = json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        text = repr(value) if not isinstance(value, int) else "a number of thousands of digits"
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
