"""Plain functions and settings dataclasses as commands: their options, help and errors, by cyclopts.

The parameters of a function are the options of its command, and its numpydoc docstring is their help. The
fields of a settings dataclass (:mod:`napari_cln.settings`) are options too; those that were given reach the
function as keyword arguments. Numbers take a point or a comma, and nothing is cut to fit.
"""

from __future__ import annotations

import inspect
import os
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar, get_args, get_type_hints

import msgspec
from cyclopts import App, CycloptsError, Group, Parameter, Token
from cyclopts.exceptions import CoercionError, MissingArgumentError, UnusedCliTokensError

from ..disk.cells import parse_number, parse_whole
from ..settings import Setting, setting_of, settings_of, texts_of

if TYPE_CHECKING:
    from cyclopts.help import HelpPanel
    from rich.console import Console, ConsoleOptions

T = TypeVar("T", bound=Any)
NAMES = 26
"""Columns of a terminal that names of options take."""
WIDEST = 110

Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
Positive: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]
Folder: TypeAlias = Annotated[Path, msgspec.Meta(title="DIR")]
Existing: TypeAlias = Annotated[Path, msgspec.Meta(extra={"exists": True})]
"""A file or folder that is there."""


def command(
    settings: type | None = None, heading: str = "Settings"
) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Make a command of a function.

    Parameters
    ----------
    settings : type, optional
        Dataclass whose fields are options too. The function takes those that were given as ``**given``.
    heading : str
        Heading of those in the help.
    """

    def take(function: Callable[..., int]) -> Callable[..., int]:
        hints, texts = get_type_hints(function, include_extras=True), texts_of(function.__doc__)
        parameters = []
        for parameter in inspect.signature(function).parameters.values():
            if parameter.kind is not parameter.VAR_KEYWORD:
                default = None if parameter.default is parameter.empty else parameter.default
                name = parameter.name
                setting = setting_of(name, hints[name], default, texts.get(name, ""))
                parameters.append(parameter.replace(annotation=_annotated(setting)))
        for setting in settings_of(settings) if settings else ():
            parameters.append(
                inspect.Parameter(
                    setting.name,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=setting.default,
                    annotation=_annotated(setting, Group(heading)),
                )
            )
        function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        function.__annotations__ = {each.name: each.annotation for each in parameters}
        return function

    return take


def _annotated(setting: Setting, group: Group | None = None) -> Any:
    """The annotation by which cyclopts reads an option and shows it."""
    reads: Callable[[Any, Sequence[Token]], Any] | None = None
    if (setting.limits.extra or {}).get("exists"):
        reads = _existing
    elif setting.is_number:
        reads = _number_of(setting)
    elif setting.kind is Path:
        reads = _place
    word = {int: "N", float: "X", str: "TEXT"}.get(setting.kind, "PATH")
    is_switch = setting.kind is bool and setting.default is not False
    how = Parameter(
        help=_help(setting),
        show_default=False,
        metavar=setting.limits.title or "|".join(setting.choices) or word,
        converter=reads,
        negative=f"--no-{setting.option[2:]}" if is_switch else (),
        consume_multiple=setting.kind is tuple or None,
    )
    own = [part for part in get_args(setting.hint) if isinstance(part, Parameter)]
    return Annotated[setting.hint, how, *own, *([Parameter(group=group)] if group else [])]


def _help(setting: Setting) -> str:
    """Meaning of an option, its limits and its default."""
    facts = [setting.range]
    if setting.kind is not bool and setting.default not in (None, "", ()):
        facts.append(f"default: {setting.default}")
    known = "; ".join(filter(None, facts))
    return f"{setting.text} [{known}]".strip() if known else setting.text


def _number_of(setting: Setting) -> Callable[[type, Sequence[Token]], float]:
    """Reader of a number that is within the limits of a setting."""

    def read(_: type, tokens: Sequence[Token]) -> float:
        text = tokens[0].value
        try:
            number = parse_whole(text) if setting.kind is int else parse_number(text)
        except ValueError as cause:
            raise ValueError(str(cause).removesuffix(".")) from cause
        try:
            msgspec.convert(number, setting.hint)
        except msgspec.ValidationError as cause:
            limits = setting.limits
            if limits.gt is not None and limits.lt is not None:
                raise ValueError(f"{text} is not between {limits.gt:g} and {limits.lt:g}") from cause
            if limits.le is None:
                raise ValueError(f"{text} is less than {limits.ge:g}") from cause
            raise ValueError(f"{setting.name} is {text}, and must be {setting.wanted}") from cause
        return number

    return read


def existing_place(text: str) -> str:
    """Return the name of a file or folder that is there.

    Raises
    ------
    ValueError
        If there is none.
    """
    if not os.path.exists(text):  # noqa: PTH110 - a Path raises where a name is too long
        raise ValueError(f"there is no file or folder {text}")
    return text


def _existing(kind: Any, tokens: Sequence[Token]) -> Any:
    text = existing_place(tokens[0].value)
    return text if kind is str else Path(text)


def _place(_: Any, tokens: Sequence[Token]) -> Path:
    if not tokens[0].value:
        raise ValueError("it is empty, and must name a file or folder")  # "" would be the current folder
    return Path(tokens[0].value)


def settings_from(usual: T, file: Path | None, given: Mapping[str, Any]) -> T:
    """Join the settings of a command line.

    Parameters
    ----------
    usual : dataclass
        Settings that hold where neither the file nor an option says otherwise.
    file : path, optional
        Of JSON, with any of the settings by their names.
    given : mapping of str to object
        Those that were given as options, which come first.

    Raises
    ------
    RunError
        If the file can't be read, or holds what is no setting, or one out of its limits.
    """
    from ..training.run_folder import read_settings

    settings = usual if file is None else read_settings(file, type(usual))
    return replace(settings, **given)


def read_command(
    arguments: Sequence[str], commands: Mapping[str, tuple[str, str]]
) -> tuple[Callable[..., int], inspect.BoundArguments]:
    """Read a command line; where it asks for help, show that and end.

    Parameters
    ----------
    arguments : sequence of str
    commands : mapping of str to (str, str)
        Place of each command's function, such as ``napari_cln.cli.training:train``, and a line on it.

    Returns
    -------
    function, arguments
        Of the arguments, those alone that were given.

    Raises
    ------
    SystemExit
        0 after help; 2 for wrong use, which a line on standard error says.
    """
    app = App(
        name="napari-cln",
        help_format="plaintext",
        help_formatter=_Help(),
        group_arguments=Group("Arguments"),
        group_parameters=Group("Options"),
        default_parameter=Parameter(allow_repeating=True),
    )
    for name, (place, line) in commands.items():
        app.command(place, name=name, help=None if arguments[:1] == [name] else line)
    try:
        function, bound, _ = app.parse_args(list(arguments), exit_on_error=False, print_error=False)
    except CycloptsError as error:
        import sys

        name = arguments[0] if arguments and arguments[0] in commands else ""
        print(f"napari-cln {name}".strip() + f": {_sentence(error)}", file=sys.stderr)
        print(f"napari-cln {name}".strip() + " --help lists what can be given.", file=sys.stderr)
        raise SystemExit(2) from None
    if inspect.ismethod(function):  # of the app: it shows help
        function(*bound.args, **bound.kwargs)
        raise SystemExit(0)
    return function, bound


def _sentence(error: CycloptsError) -> str:
    """Reason why a command line can't be taken."""
    error.verbose = False
    name = error.argument.name if error.argument else ""
    token = getattr(error, "token", None)
    option = token.keyword if token is not None and token.keyword else name
    if isinstance(error, MissingArgumentError):
        given = any(word.partition("=")[0] == option for word in error.root_input_tokens or ())
        return f"{option} needs a value." if given else f"{option} is required."
    if isinstance(error, UnusedCliTokensError):
        return f"There is nothing to do with {' '.join(error.unused_tokens or ())}."
    text = str(error)
    if isinstance(error, CoercionError):
        if error.msg is not None:
            return f"argument {option}: {error.msg}."
        if token is not None:
            plain = f'Invalid value "{token.value}" for {option}.'
            text = text.replace(plain, f'argument {option}: invalid choice "{token.value}".')
    return text


def _plain(text: Any) -> str:
    """The words of a text that cyclopts has made ready for a terminal."""
    text = getattr(text, "primary_renderable", text)
    return str(getattr(text, "plain", text) or "")


class _Help:
    """Help as plain lines: a name, what it means, its limits and default; bold headings in a terminal."""

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        if not panel.entries:
            return
        self._show(console, f"{panel.title}:", "bold")
        for entry in panel.entries:
            name = " ".join(entry.display_labels_with_metavar)
            self._show(console, self._wrapped(console, f"  {name}", _plain(entry.description)))
        self._show(console, "")

    def render_usage(self, console: Console, options: ConsoleOptions, usage: Any) -> None:
        """Show how the command is called."""
        self._show(console, f"Usage: {usage}")

    def render_description(self, console: Console, options: ConsoleOptions, description: Any) -> None:
        """Show what the command does."""
        width = min(console.width, WIDEST)
        for paragraph in _plain(description).strip().split("\n\n"):
            self._show(console, textwrap.fill(" ".join(paragraph.split()), width) + "\n")

    def _wrapped(self, console: Console, name: str, text: str) -> str:
        width = max(min(console.width, WIDEST), NAMES + 20)
        lines = textwrap.wrap(text, width - NAMES, break_long_words=False, break_on_hyphens=False) or [""]
        if len(name) > NAMES - 2:
            lines.insert(0, "")
        starts = [name, *[""] * (len(lines) - 1)]
        return "\n".join(f"{start:{NAMES}}{line}".rstrip() for start, line in zip(starts, lines, strict=True))

    def _show(self, console: Console, text: str, style: str = "") -> None:
        console.print(text, style=style, markup=False, highlight=False, soft_wrap=True, emoji=False)
