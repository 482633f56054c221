"""3D Slicer's module MONAI Label is served: frames, masks, models; and what is refused."""

from __future__ import annotations

import gzip
import http.client
import importlib.util
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from threading import Thread
from urllib.parse import urlparse

import numpy as np
import pytest
import SimpleITK as sitk
from served import Slicer, judged_by_nobody, start

from napari_cln.annotation import Annotation, Node
from napari_cln.errors import RunError
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.folder.health.check import check_study
from napari_cln.io.volumes import decode_volume, encode_volume
from napari_cln.server import serve
from napari_cln.server.samples import StudySamples, score_name
from napari_cln.types import Frame


def shape_l(shape=(224, 224), value: int = 1) -> np.ndarray:
    """A mask that is another one when it is turned or mirrored."""
    mask = np.zeros(shape, np.uint8)
    mask[20:60, 30:40] = value
    mask[50:60, 30:90] = value
    return mask


def labels(mask: np.ndarray, ending: str = ".nii.gz") -> bytes:
    return encode_volume(mask, ending)


def newest(study: TrainingFolder, n: int = 0) -> str:
    """The n-th frame by the name that it has in its newest state."""
    case = [case for case in study.cases() if case.shape == (224, 224)][n]
    return f"{case.id}.r{case.revision}"


def test_slicer_is_told_of_frames_models_and_strategies(slicer):
    told = slicer.ask("GET", "/info/").json

    assert next(iter(told["models"])) == "small"
    assert told["models"]["small"]["labels"] == told["labels"] == ["lymph node"]
    assert told["datastore"]["total"] == 6
    assert "config" not in told  # Slicer would call the server too old
    assert slicer.ask("GET", "/auth/").json == {"enabled": False}


def test_six_frames_of_six_come_and_their_masks_return_exactly(slicer, study, tmp_path):
    n = 0
    while sample := slicer.next():
        n += 1
        picture = slicer.ask("GET", f"/datastore/image?image={sample['id']}").body
        (tmp_path / "image.nrrd").write_bytes(picture)
        seen = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "image.nrrd")))[0]
        case = study.case(sample["id"][:16])
        assert (seen == study.read_image(case)).all()

        answer = slicer.save(sample["id"], labels(shape_l()))
        assert answer.status == 200
        case = study.case(case.id)
        assert (study.read_instances(case) == shape_l()).all()
        assert (case.status, case.revision) == ("corrected", 2)
        assert study.record(case.id).last.who == "reader-7"
        back = slicer.ask("GET", f"/datastore/label?label={answer.json['label']}&tag=original").body
        assert (decode_volume(back, "mask").values == shape_l()).all()

    assert n == 6
    assert slicer.ask("GET", "/info/").json["datastore"]["completed"] == 6


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
@pytest.mark.parametrize("rgb", [False, True])
def test_a_picture_of_slicers_own_is_segmented_where_it_lies(slicer, tmp_path, ending, rgb):
    pixels = np.random.default_rng(1).integers(0, 255, (1, 120, 150, *[3] * rgb), np.uint8)
    image = sitk.GetImageFromArray(pixels, isVector=rgb)
    image.SetSpacing((0.1, 0.2, 1))
    image.SetOrigin((5, -7, 3))
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    sitk.WriteImage(image, str(tmp_path / f"a{ending}"))
    session = slicer.form("PUT", "/session/", files=(tmp_path / f"a{ending}").read_bytes()).json["session_id"]

    _, mask = slicer.form("POST", f"/infer/small?image=Miller%5EAnna&session_id={session}").parts
    (tmp_path / "mask.nrrd").write_bytes(mask)
    found = sitk.ReadImage(str(tmp_path / "mask.nrrd"))

    assert found.GetSize() == image.GetSize()
    for which in ("GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(found, which)() == pytest.approx(getattr(image, which)())
    assert slicer.ask("GET", f"/session/{session}").json == {"session_id": session}
    slicer.ask("DELETE", f"/session/{session}")
    assert slicer.ask("GET", f"/session/{session}").json == {}


def test_the_score_is_in_the_name_of_the_segment(slicer, study):
    said, mask = slicer.form("POST", f"/infer/small?image={newest(study, 0)}").parts

    values = set(np.unique(decode_volume(mask, "mask").values)) - {0}
    assert set(said["label_names"].values()) == values
    assert all(name.startswith("lymph node ") and " · 0." in name for name in said["label_names"])
    assert said["model_id"].startswith("small@")


def test_a_mask_on_a_picture_of_slicers_own_comes_in_by_the_door(slicer, study):
    pixels = np.zeros((200, 300), np.uint8)
    pixels[40:, 40:260] = np.random.default_rng(2).integers(30, 200, (160, 220))
    pixels[5:15, 5:120:3] = 255  # what could be a name
    slicer.form("PUT", "/datastore/?image=Miller%5EAnna", file=encode_volume(pixels, ".nrrd"))
    answer = slicer.save("Miller^Anna", labels(shape_l((200, 300))[::-1]))

    case = study.case(answer.json["label"][:16])
    assert (study.read_image(case) != 255).all()
    assert b"Miller" not in study.layout.record(case.id).read_bytes()
    # a kind of screen that nobody has looked at
    assert slicer.ask("GET", f"/datastore/image?image={answer.json['label']}").status == 403
    assert slicer.save("Miller^Anna", labels(shape_l((200, 300))[::-1])).status == 200


def test_an_empty_mask_is_no_negative(slicer, study):
    image = newest(study, 1)
    answer = slicer.save(image, labels(np.zeros((224, 224), np.uint8)))

    assert answer.status == 422
    assert "If the frame shows no node, say so in napari-cln" in answer.text
    assert study.record(image[:16]).revision == int(image[18:])


def test_a_frame_that_another_reader_changed_is_a_conflict_and_both_are_kept(slicer, study):
    image = newest(study, 2)
    case = study.case(image[:16])
    frame = Frame(pixels=study.read_image(case), source=case.image)
    study.save(Annotation(frame=frame, instances=shape_l(), status="corrected"), who="two")

    mine = shape_l()[::-1]
    answer = slicer.save(image, labels(mine), reader="one")

    assert answer.status == 409
    assert "was changed by two" in answer.text
    assert (study.read_instances(study.case(case.id)) == shape_l()).all()
    kept = [record.last.who for record in study.revisions(case.id)]
    assert kept.count("one") == 1


def test_the_same_reader_may_submit_twice(slicer, study):
    image = newest(study, 3)
    assert slicer.save(image, labels(shape_l()), reader="again").status == 200
    assert slicer.save(image, labels(shape_l()[::-1]), reader="again").status == 200

    assert (study.read_instances(study.case(image[:16])) == shape_l()[::-1]).all()


def test_what_the_folder_knows_of_a_node_stays_with_it(slicer, study):
    case_id = newest(study, 4)[:16]
    case = study.case(case_id)
    frame = Frame(pixels=study.read_image(case), source=case.image)
    nodes = (
        Node(id=1, status="rejected"),
        Node(id=2, truth="metastatic", truth_source="fna", level="III"),
    )
    both = shape_l(value=2)
    both[150:170, 150:170] = 1
    saved = study.save(Annotation(frame=frame, instances=both, nodes=nodes), who="two")

    mask = shape_l(value=1)
    mask[100:110, 100:120] = 2
    names = ("lymph node 2, left III", "Segment_1")
    assert slicer.save(f"{case_id}.r{saved.revision}", labels(mask), names).status == 200

    now = study.case(case_id)
    assert [(node.id, node.truth, node.level, node.side, node.status) for node in now.nodes] == [
        (1, "unknown", None, None, "rejected"),
        (2, "metastatic", "III", "left", "corrected"),
        (3, "unknown", None, None, "corrected"),
    ]
    instances = study.read_instances(now)
    assert (instances[160, 160], instances[55, 80], instances[105, 110]) == (1, 2, 3)


@pytest.mark.parametrize("names", [("lymph node 1, left III", "lymph node 2"), ()])
def test_a_segment_never_takes_the_entry_of_a_node_that_was_rejected(data, tmp_path, names):
    study = judged_by_nobody(tmp_path / "study", data)
    case = study.cases()[0]
    frame = Frame(pixels=study.read_image(case), source=case.image)
    nodes = (Node(id=1, status="rejected", truth="metastatic", truth_source="fna"), Node(id=2))
    both = shape_l(case.shape, value=2)
    both[150:170, 150:170] = 1
    study.save(Annotation(frame=frame, instances=both, nodes=nodes), who="two")

    mask = shape_l(case.shape, value=2)
    mask[100:110, 100:120] = 1
    StudySamples(study).save(f"{case.id}.r2", labels(mask), names, "reader-7")

    now = study.case(case.id)
    assert [(node.id, node.status, node.truth) for node in now.nodes] == [
        (1, "rejected", "metastatic"),
        (2, "corrected", "unknown"),
        (3, "corrected", "unknown"),
    ]
    assert (now.nodes[2].level, now.nodes[2].side) == (("III", "left") if names else (None, None))
    instances = study.read_instances(now)
    assert (instances[160, 160], instances[55, 80], instances[105, 110]) == (1, 2, 3)


def test_a_segment_that_a_model_numbered_is_the_node_in_its_place(data, tmp_path):
    study = judged_by_nobody(tmp_path / "study", data)
    case = study.cases()[0]
    frame = Frame(pixels=study.read_image(case), source=case.image)
    nodes = (Node(id=1, truth="metastatic", truth_source="fna"), Node(id=2, truth="benign"))
    both = shape_l(case.shape, value=2)
    both[150:170, 150:170] = 1
    study.save(Annotation(frame=frame, instances=both, nodes=nodes), who="two")

    mask = shape_l(case.shape, value=1)  # where the folder has node 2
    mask[100:110, 100:120] = 2
    names = (score_name(1, 0.2), score_name(2, 0.7, "look twice"))
    StudySamples(study).save(f"{case.id}.r2", labels(mask), names, "reader-7")

    now = study.case(case.id)
    assert [(node.id, node.truth) for node in now.nodes] == [(2, "benign"), (3, "unknown")]
    instances = study.read_instances(now)
    assert (instances[55, 80], instances[105, 110]) == (2, 3)


def test_nodes_that_a_reader_rejected_are_not_shown(data, tmp_path):
    study = judged_by_nobody(tmp_path / "study", data)
    case = study.cases()[0]
    frame = Frame(pixels=study.read_image(case), source=case.image)
    rejected = (Node(id=1, status="rejected"),)
    study.save(Annotation(frame=frame, instances=shape_l(case.shape), nodes=rejected, status="rejected"))

    samples = StudySamples(study)
    given = f"{case.id}.r2"

    assert not decode_volume(samples.original(given), "mask").values.any()
    assert samples.listing() == {"objects": {}}


@pytest.mark.parametrize(
    ("mask", "names", "why"),
    [
        (np.ones((224, 200), np.uint8), ("lymph node 1",), "224×200 pixels, its image 224×224"),
        (np.ones((224, 224), np.uint8), ("vessel",), "'vessel', which is no lymph node"),
    ],
)
def test_a_mask_of_something_else_is_refused(slicer, study, mask, names, why):
    answer = slicer.save(newest(study, 5), labels(mask), names)

    assert answer.status == 422
    assert why in answer.text


def test_a_volume_of_several_slices_is_refused_with_a_sentence(slicer, tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((5, 90, 80), np.uint8)), str(tmp_path / "a.nii.gz"))
    answer = slicer.form("PUT", "/session/", files=(tmp_path / "a.nii.gz").read_bytes())

    assert (answer.status, "5 slices" in answer.text) == (422, True)


def test_dicom_files_are_not_taken(slicer, data):
    file = next((data / "dicom").rglob("*.dcm")).read_bytes()

    assert slicer.form("PUT", "/datastore/?image=a", file=file).status == 415


def test_a_body_that_is_too_large_is_refused_with_and_without_a_length(slicer):
    large = b"0" * (65 * 2**20)
    parsed = urlparse(slicer.url)
    for headers in ({"Content-Length": str(len(large))}, {"Transfer-Encoding": "chunked"}):
        connection = http.client.HTTPConnection(parsed.hostname, parsed.port, timeout=60)
        connection.putrequest("PUT", parsed.path + "/session/")
        for key, value in {"Content-Type": "multipart/form-data; boundary=a", **headers}.items():
            connection.putheader(key, value)
        connection.endheaders()
        if "Transfer-Encoding" in headers:
            with suppress(OSError):  # the server has answered and left
                part = b'--a\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n' + large
                connection.send(b"%x\r\n%s\r\n0\r\n\r\n" % (len(part), part))
        answer = connection.getresponse()
        answer.read()
        connection.close()
        assert answer.status == 413


def test_a_volume_that_unpacks_without_end_is_refused(slicer):
    header = bytearray(encode_volume(np.zeros((8, 8), np.uint8), ".nii")[:352])
    bomb = gzip.compress(bytes(header) + bytes(300 * 2**20), 1)

    assert slicer.form("PUT", "/session/", files=bomb).status == 413


@pytest.mark.parametrize("image", ["../records/a", "/etc/passwd", "0123456789abcdef.r1", "", "a" * 5000])
def test_what_is_not_in_the_folder_is_not_found(slicer, image):
    for path in ("/datastore/image?image=", "/infer/small?image="):
        verb = "GET" if "datastore" in path else "POST"
        answer = slicer.form(verb, path + image)
        assert answer.status == 404
    assert slicer.form("POST", f"/infer/%2Fetc%2Fpasswd?image={image}").status == 404


def test_another_address_another_host_and_a_browser_are_turned_away(slicer):
    parsed = urlparse(slicer.url)
    assert Slicer(f"http://{parsed.netloc}/wrong").ask("GET", "/info/").status == 404
    assert Slicer(f"http://{parsed.netloc}").ask("GET", "/info/").status == 404
    assert slicer.ask("GET", "/info/", Host="evil.example:80").status == 403
    assert slicer.ask("GET", "/info/", Origin="http://127.0.0.1").status == 403


def test_only_this_computer_is_answered(slicer):
    port = urlparse(slicer.url).port
    if not sys.platform.startswith("linux"):
        pytest.skip("reads /proc")
    lines = Path("/proc/net/tcp").read_text().splitlines()
    listening = [line.split()[1] for line in lines if line.split()[3] == "0A"]
    assert [place for place in listening if place.endswith(f":{port:04X}")] == [f"0100007F:{port:04X}"]


def test_requests_that_are_no_requests_get_a_sentence(slicer):
    assert slicer.ask("PUT", "/session/", b"nothing").status == 400
    assert slicer.form("PUT", "/session/").status == 400
    assert slicer.form("POST", "/infer/small?image=a", "[1]").status == 400
    assert slicer.form("PUT", "/session/", files=b"no volume").status == 422
    assert slicer.ask("POST", "/activelearning/queue", b"{").status == 400
    assert slicer.ask("POST", "/activelearning/other").status == 404
    assert "napari-cln train" in slicer.ask("GET", "/train/?check_if_running=true").text


def test_a_server_that_is_killed_in_a_save_loses_nothing(data, models, tmp_path):
    study = judged_by_nobody(tmp_path / "study", data)
    process, url = start(study.path, models)
    slicer = Slicer(url)
    images = [newest(study, n) for n in range(6)]
    threads = [Thread(target=_try, args=(slicer, image)) for image in images]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    process.kill()
    process.wait(10)
    process.stdout.close()
    for thread in threads:
        thread.join(10)

    errors = [f for f in check_study(study).faults if f.severity == "error" and f.kind != "no-split"]
    assert not [fault for fault in errors if fault.remedy is None]
    for case_id in study.ids():
        case = study.case(case_id)
        saved = case.revision == 2
        assert (study.read_instances(case) == shape_l() * saved).all()


def _try(slicer, image: str) -> None:
    with suppress(OSError, http.client.HTTPException):
        slicer.save(image, labels(shape_l()))


def test_a_port_that_is_taken_is_told(slicer, study, models, monkeypatch):
    monkeypatch.setenv("NAPARI_CLN_MODELS", str(models))
    with pytest.raises(RunError, match="Choose another"):
        serve(study.path, port=urlparse(slicer.url).port, model="small")


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_slicers_own_client_is_served(slicer, study, tmp_path):
    """Runs where NAPARI_CLN_SLICER_CLIENT names the module's client.py (plugins/slicer of MONAI Label)."""
    place = os.environ.get("NAPARI_CLN_SLICER_CLIENT")
    if not place or sys.version_info >= (3, 13):
        pytest.skip("NAPARI_CLN_SLICER_CLIENT names no client.py, or Python has no module cgi any more")
    spec = importlib.util.spec_from_file_location("client", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    client = module.MONAILabelClient(slicer.url, str(tmp_path), "reader-8")
    assert client.info()["name"] == "napari-cln"
    image = newest(study)
    found, said = client.infer("small", image, {"result_extension": ".nrrd"})
    assert decode_volume(Path(found).read_bytes(), "mask").values.shape == (224, 224)
    assert "label_names" in said
    (tmp_path / "label.nii.gz").write_bytes(labels(shape_l()))
    saved = client.save_label(image, str(tmp_path / "label.nii.gz"), params={"label_info": []})
    assert saved["image"] == image
    assert (study.read_instances(study.case(image[:16])) == shape_l()).all()
