"""Every public name says what its arguments are, what comes back and what is raised."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from docstring_parser import Docstring, DocstringStyle, parse

import napari_cln

FUNCTIONS = sorted(name for name in napari_cln.__all__ if inspect.isfunction(getattr(napari_cln, name)))
CLASSES = sorted(name for name in napari_cln.__all__ if inspect.isclass(getattr(napari_cln, name)))
ERRORS = [name for name in CLASSES if issubclass(getattr(napari_cln, name), Exception)]
PLAIN = sorted({*CLASSES} - {*ERRORS})


def documentation(thing: Any) -> Docstring:
    return parse(inspect.getdoc(thing) or "", DocstringStyle.NUMPYDOC)


def arguments(function: Callable[..., Any]) -> set[str]:
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    found = [each for each in inspect.signature(function).parameters.values() if each.kind not in kinds]
    return {each.name for each in found if each.name != "self" and not each.name.startswith("_")}


def documented(thing: Any) -> set[str]:
    parts = documentation(thing).params
    return {name.strip(" *") for part in parts for name in part.arg_name.split(",")}


def methods() -> Iterator[tuple[str, str]]:
    for name in PLAIN:
        for method, function in vars(getattr(napari_cln, name)).items():
            if not method.startswith("_") and inspect.isfunction(function) and arguments(function):
                yield name, method


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_public_function_documents_each_argument(name):
    function = getattr(napari_cln, name)

    assert arguments(function) - documented(function) == set()
    assert documented(function) - set(inspect.signature(function).parameters) == set()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_public_function_says_what_comes_back(name):
    function = getattr(napari_cln, name)
    gives = inspect.signature(function).return_annotation not in ("None", None)

    assert bool(documentation(function).many_returns) == gives


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_public_function_that_raises_says_so(name):
    function = getattr(napari_cln, name)
    body = inspect.getsource(function).rpartition('"""')[2]

    assert "raise " not in body or documentation(function).raises


@pytest.mark.parametrize("name", PLAIN)
def test_a_public_class_documents_each_argument(name):
    kind = getattr(napari_cln, name)
    wanted = (
        {each.name for each in dataclasses.fields(kind)}
        if dataclasses.is_dataclass(kind)
        else arguments(kind)
    )
    known = set().union(*(documented(each) for each in kind.__mro__ if each is not object))

    assert wanted - known == set()


@pytest.mark.parametrize(("name", "method"), list(methods()))
def test_a_public_method_documents_each_argument(name, method):
    function = getattr(getattr(napari_cln, name), method)

    assert arguments(function) - documented(function) == set()
