"""A door for one computer: who may ask, how much may come in, and how a fault is told.

The address carries a secret as its first part, since Slicer's downloader sends no password with a picture.
A page in a browser can neither guess it, nor ask under another host's name (DNS rebinding), nor read an
answer. What comes in stays in memory: a part that grew would else lie in a temporary file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hmac import compare_digest
from typing import Any

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..disk.cells import one_line
from ..errors import (
    ClnError,
    ConflictError,
    DatasetError,
    FrameReadError,
    PredictionError,
    TooLargeError,
    WeightsError,
)

__all__ = [
    "MAX_BODY_BYTES",
    "Form",
    "Guard",
    "RefusedError",
    "parse_params",
    "read_form",
    "reader_of",
    "tell",
]

MAX_BODY_BYTES = 64 * 2**20
"""Of one request: more than a picture of an 8K screen in colour takes, packed."""
MAX_FIELDS = 20
HOSTS = frozenset({"127.0.0.1", "localhost"})
STATUSES: tuple[tuple[type[Exception], int], ...] = (
    (ConflictError, 409),
    (TooLargeError, 413),
    (FrameReadError, 422),
    (DatasetError, 422),
    (PredictionError, 422),
    (WeightsError, 404),
)


class RefusedError(ClnError):
    """A request that is refused, with the status of its answer."""

    def __init__(self, status: int, message: str, advice: str = "") -> None:
        super().__init__(message, advice)
        self.status = status


class Guard:
    """An application that is asked by this computer alone, with the secret, and for bodies of a decent size.

    Parameters
    ----------
    app : ASGI application
        Sees the path without the secret.
    token : str
        First part of every path.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._start = app, f"/{token}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await tell(refusal)(scope, receive, send)
            return
        inner = dict(scope, path=scope["path"][len(self._start) :], root_path="")
        inner["raw_path"] = inner["path"].encode()
        n_bytes = 0

        async def counted() -> Message:
            nonlocal n_bytes
            message = await receive()
            n_bytes += len(message.get("body", b""))
            if n_bytes > MAX_BODY_BYTES:
                raise _too_much()
            return message

        await self._app(inner, counted, send)

    def _refusal(self, scope: Scope) -> RefusedError | None:
        headers = {key.lower(): value for key, value in scope["headers"]}
        host = headers.get(b"host", b"").decode("latin-1")
        if re.sub(r":\d+$", "", host) not in HOSTS or b"origin" in headers:
            return RefusedError(403, "Only programs on this computer are answered, no pages of a browser.")
        path = scope["path"]
        first = path[: len(self._start)]
        if not compare_digest(first.encode(), self._start.encode()) or path[len(first) :][:1] not in (
            "",
            "/",
        ):
            return RefusedError(
                404, "There is nothing here.", "Copy the address that napari-cln serve printed."
            )
        length = headers.get(b"content-length", b"0")
        return None if length.isdigit() and int(length) <= MAX_BODY_BYTES else _too_much()


def _too_much() -> RefusedError:
    return RefusedError(
        413, f"More than {MAX_BODY_BYTES // 2**20} MB are not taken.", "Save the one slice that you want."
    )


def tell(error: Exception) -> Response:
    """Answer with a sentence for whatever went wrong, and never a path or a traceback.

    Parameters
    ----------
    error : Exception
    """
    status = error.status if isinstance(error, RefusedError) else 500
    if status == 500:
        status = next((known for kind, known in STATUSES if isinstance(error, kind)), 500)
    kind = type(error).__name__
    unforeseen = f"This should not have happened ({kind}). Please open an issue in napari-cln's repository."
    sentence = str(error) if isinstance(error, ClnError) else unforeseen
    return PlainTextResponse(one_line(sentence), status)


# ------------------------------------------------------------ what comes in


@dataclass(frozen=True, kw_only=True, eq=False)
class Form:
    """A form with at most one file.

    Parameters
    ----------
    params : dict
        The JSON object of the field of that name.
    file : bytes, optional
    """

    params: Mapping[str, Any]
    file: bytes | None = None

    @property
    def client(self) -> str:
        """Name that the reader gave themselves in Slicer."""
        return reader_of(self.params)

    def needed(self) -> bytes:
        """The file.

        Raises
        ------
        RefusedError
            If there is none.
        """
        if self.file is None:
            raise RefusedError(400, "The request holds no file.", "Send it again.")
        return self.file


def reader_of(params: Mapping[str, Any]) -> str:
    """Name of a reader in a request's parameters: printable, at most 200 characters."""
    name = one_line(str(params.get("client_id") or ""))[:200].strip()
    return name or "a reader"


async def read_form(request: Request, field: str) -> Form:
    """Read a form in memory.

    Parameters
    ----------
    request : Request
    field : str
        Name of the file's field.

    Raises
    ------
    RefusedError
        If it is none, or a part is damaged.
    """
    parser = MultiPartParser(
        request.headers, request.stream(), max_files=2, max_fields=MAX_FIELDS, max_part_size=2**20
    )
    parser.spool_max_size = MAX_BODY_BYTES + 1
    try:
        if not request.headers.get("content-type", "").startswith("multipart/form-data"):
            raise RefusedError(400, "The request is no form.", "Send it again.")
        form = await parser.parse()
    except (MultiPartException, KeyError, UnicodeDecodeError) as cause:
        raise RefusedError(400, "The request is a damaged form.", "Send it again.") from cause
    file = form.get(field)
    data = await file.read() if isinstance(file, UploadFile) else None
    text = form.get("params", "{}")
    await form.close()
    return Form(params=parse_params(text if isinstance(text, str) else "{}"), file=data)


def parse_params(text: str | bytes) -> Mapping[str, Any]:
    """A JSON object from a request; empty for nothing.

    Parameters
    ----------
    text : str or bytes

    Raises
    ------
    RefusedError
        If it is something else.
    """
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError) as cause:
        raise RefusedError(400, "The parameters are no JSON.", "Send them again.") from cause
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RefusedError(400, "The parameters are no JSON object.", "Send them again.")
    return value
