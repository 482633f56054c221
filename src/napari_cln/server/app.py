"""The calls of MONAI Label's module for 3D Slicer, and their answers.

The protocol is that of the module's own client (MONAI Label 0.8; ``plugins/slicer`` in its repository).
Its traps: it asks ``/auth/`` before every call; an unknown session must be an empty answer; a top-level
``config`` in ``/info/`` reads as an old server; and the file name of an answer becomes a path on its disk.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from functools import partial

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from .. import __version__
from ..disk.schema import JsonObject
from ..errors import PredictionError
from ..folder.dataset import TrainingFolder
from ..io.volumes import encode_volume
from ..models.card import ModelCard
from ..models.library import known_models, read_card
from ..network.inference import Segmenter
from ..types import Prediction
from .guard import Guard, RefusedError, parse_params, read_form, reader_of, tell
from .samples import LABEL, STRATEGIES, StudySamples, score_name

N_MODELS = 2
"""Networks that are kept loaded."""
BOUNDARY = "napari-cln-answer"
NO_TRAINING = "Training runs in napari-cln: `napari-cln train FOLDER`."


class Models:
    """The models that Slicer may ask for, the chosen one first; one frame at a time goes through them.

    Parameters
    ----------
    chosen : str
        Name or file.
    device : str
    """

    def __init__(self, chosen: str, device: str) -> None:
        first = read_card(chosen)
        self._paths: dict[str, str] = {first.name: chosen}
        self._cards: dict[str, ModelCard] = {first.name: first}
        for card in known_models()[0]:
            self._paths.setdefault(card.name, card.name)
            self._cards.setdefault(card.name, card)
        self._device = device
        self._loaded: OrderedDict[str, Segmenter] = OrderedDict()
        self.turn = asyncio.Lock()

    def describe(self) -> JsonObject:
        """The models that outline nodes, as ``/info/`` lists them."""
        return {
            name: {
                "type": "segmentation",
                "labels": [LABEL],
                "dimension": 2,
                "description": f"Outlines lymph nodes on ultrasound; a score of at least {card.cutoff:.2f} "
                "reads malignant. For research, not for diagnosis.",
                "config": {},
            }
            for name, card in self._cards.items()
            if card.config.segmentation
        }

    def predict(self, name: str, samples: StudySamples, image_id: str) -> tuple[bytes, JsonObject]:
        """A mask as NRRD, and what there is to say of it.

        Parameters
        ----------
        name : str
        samples : StudySamples
        image_id : str

        Raises
        ------
        RefusedError
            If the model or the image is not known.
        """
        known = name if name in self._paths else name.replace("+", " ")
        if known not in self._paths:
            raise RefusedError(404, "There is no such model here.", "Fetch the list of models again.")
        upload = samples.find(image_id)
        if known not in self._loaded:
            self._loaded[known] = Segmenter(self._paths[known], self._device)
            while len(self._loaded) > N_MODELS:
                self._loaded.popitem(last=False)
        segmenter = self._loaded[known]
        (found,) = segmenter.predict_prepared([upload.frame], [segmenter.prepare(upload.frame)])
        if isinstance(found, PredictionError):
            raise found
        samples.note_model(image_id, found)
        return encode_volume(found.instances, ".nrrd", place=upload.place), _said(found)


def _said(found: Prediction) -> JsonObject:
    doubt = found.doubt.level if found.doubt is not None and found.doubt.level != "sure" else ""
    remark = "do not rely on it" if found.status != "ok" else doubt
    names = [score_name(i, score, remark) for i, score in enumerate(found.node_scores, start=1)]
    return {
        "label_names": {name: value for value, name in enumerate(names, start=1)},
        "label": found.label,
        "malignancy": round(found.malignancy, 4),
        "cutoff": found.cutoff,
        "model_id": found.model_id,
        "warnings": list(found.warnings),
    }


def make_app(study: TrainingFolder, *, token: str, model: str = "in-use", device: str = "auto") -> ASGIApp:
    """Make the application that answers Slicer.

    Parameters
    ----------
    study : TrainingFolder
    token : str
        First part of the path of every address.
    model : str
        Name or file of the model that comes first.
    device : str
        Device that computes.

    Returns
    -------
    ASGI application

    Raises
    ------
    WeightsError
        If the model can't be had.
    """
    samples, models = StudySamples(study), Models(model, device)
    calls: list[tuple[str, str, _Call]] = [
        ("GET", "/auth/", _auth),
        ("GET", "/info/", partial(_info, samples, models)),
        ("POST", "/activelearning/{strategy}", partial(_next_sample, samples)),
        ("GET", "/datastore/", partial(_datastore, samples)),
        ("PUT", "/datastore/", partial(_upload, samples)),
        ("GET", "/datastore/image", partial(_image, samples)),
        ("GET", "/datastore/label", partial(_get_label, samples)),
        ("PUT", "/datastore/label", partial(_put_label, samples)),
        ("PUT", "/session/", partial(_open_session, samples)),
        ("GET", "/session/{session}", partial(_session, samples)),
        ("DELETE", "/session/{session}", partial(_end_session, samples)),
        ("POST", "/infer/{model:path}", partial(_infer, samples, models)),
        *((verb, path, _train) for verb in ("GET", "POST", "DELETE") for path in ("/train/", "/train/{_}")),
    ]
    routes = [Route(path, _answering(call), methods=[verb]) for verb, path, call in calls]
    return Guard(Starlette(routes=routes), token)


_Call = Callable[[Request], Awaitable[Response]]


def _answering(call: _Call) -> _Call:
    """A call whose every fault is answered with a sentence."""

    async def answer(request: Request) -> Response:
        try:
            return await call(request)
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception as error:
            return tell(error)

    return answer


async def _auth(_: Request) -> Response:
    return JSONResponse({"enabled": False})


async def _info(samples: StudySamples, models: Models, _: Request) -> Response:
    total, completed = await run_in_threadpool(samples.count)
    return JSONResponse(
        {
            "name": "napari-cln",
            "description": "Lymph nodes on neck ultrasound. Frames without a scale have 1 mm a pixel here: "
            "do not measure on them. For research, not for diagnosis.",
            "version": __version__,
            "labels": [LABEL],
            "models": await run_in_threadpool(models.describe),
            "trainers": {},
            "strategies": {name: {"description": text} for name, text in STRATEGIES.items()},
            "scoring": {},
            "train_stats": {},
            "datastore": {"total": total, "completed": completed, "label_tags": {}},
        }
    )


async def _next_sample(samples: StudySamples, request: Request) -> Response:
    params = parse_params(await request.body())
    found = await run_in_threadpool(samples.next, request.path_params["strategy"], reader_of(params))
    return JSONResponse(found)


async def _datastore(samples: StudySamples, _: Request) -> Response:
    return JSONResponse(await run_in_threadpool(samples.listing))


async def _image(samples: StudySamples, request: Request) -> Response:
    data = await run_in_threadpool(samples.picture, request.query_params.get("image", ""))
    return _file(data, "image.nrrd")


async def _get_label(samples: StudySamples, request: Request) -> Response:
    return _file(
        await run_in_threadpool(samples.original, request.query_params.get("label", "")), "mask.nrrd"
    )


async def _upload(samples: StudySamples, request: Request) -> Response:
    name = request.query_params.get("image")
    form = await read_form(request, "file")
    return JSONResponse({"image": await run_in_threadpool(samples.uploads.take, form.needed(), name)})


async def _put_label(samples: StudySamples, request: Request) -> Response:
    image_id = request.query_params.get("image", "")
    form = await read_form(request, "label")
    about = form.params.get("label_info") or []
    names = [str(each.get("name", "")) if isinstance(each, dict) else "" for each in about]
    saved = await run_in_threadpool(samples.save, image_id, form.needed(), names, form.client)
    return JSONResponse({"image": image_id, "label": saved})


async def _open_session(samples: StudySamples, request: Request) -> Response:
    form = await read_form(request, "files")
    return JSONResponse({"session_id": await run_in_threadpool(samples.uploads.take, form.needed())})


async def _session(samples: StudySamples, request: Request) -> Response:
    session = request.path_params["session"]
    # Empty, not 404: on that Slicer's client stops, on this it sends the picture again.
    return JSONResponse({"session_id": session} if samples.uploads.get(session) else {})


async def _end_session(samples: StudySamples, request: Request) -> Response:
    samples.uploads.forget(request.path_params["session"])
    return JSONResponse({})


async def _infer(samples: StudySamples, models: Models, request: Request) -> Response:
    query = request.query_params
    form = await read_form(request, "file")
    image_id = query.get("session_id") or query.get("image", "")
    if form.file is not None:
        image_id = await run_in_threadpool(samples.uploads.take, form.file)
    async with models.turn:
        if await request.is_disconnected():  # Slicer was closed while others had their turn
            return Response(status_code=400)
        mask, said = await run_in_threadpool(models.predict, request.path_params["model"], samples, image_id)
    return _parts(mask, said)


async def _train(_: Request) -> Response:
    raise RefusedError(404, NO_TRAINING)


def _file(data: bytes, name: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(data, media_type="application/octet-stream", headers=headers)


def _parts(mask: bytes, said: JsonObject) -> Response:
    """An answer of two parts: what there is to say, and a mask of a fixed name."""
    head, text, file = (
        f"--{BOUNDARY}\r\nContent-Disposition: form-data; name=".encode(),
        json.dumps(said).encode(),
        b'"file"; filename="mask.nrrd"\r\nContent-Type: application/octet-stream\r\n\r\n',
    )
    body = head + b'"params"\r\n\r\n' + text + b"\r\n" + head + file + mask
    body += f"\r\n--{BOUNDARY}--\r\n".encode()
    return Response(body, media_type=f"multipart/form-data; boundary={BOUNDARY}")
