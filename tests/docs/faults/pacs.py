"""Faults of the exchange with a PACS."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from i2net_bundle.pacs.credentials import TOKEN, USER, authorization
from i2net_bundle.pacs.dicomweb import DicomWeb
from i2net_bundle.pacs.fetching import fetch_study
from i2net_bundle.pacs.storing import store_results
from i2net_bundle.prediction.cohort import predict_files
from tests.docs.faults.prediction import scan, small_predictor
from tests.docs.faults.table import ERROR, Make, Printed, logged, refused
from tests.io.dicom.files import CT_UID
from tests.pacs.phantom import write_phantom
from tests.pacs.server import STUDY, Archive, Reply, ct_objects, listing, one_part, serving

Answer = Callable[[str, str, bytes], Reply | None]


def login(content: str = "", **environment: str) -> Make:
    """A login from the environment or a netrc file."""

    def make(folder: Path) -> Printed:
        (folder / "netrc").write_text(content)
        return refused(lambda: authorization("pacs.example.org", {"NETRC": "netrc", **environment}))

    return make


def address(url: str) -> Make:
    return lambda folder: refused(lambda: DicomWeb(url))


def fetched(answer: Answer = lambda method, path, body: None, study: str = STUDY) -> Make:
    """A fetch from a server that answers differently."""

    def make(folder: Path) -> Printed:
        archive = Archive(ct_objects(folder / "sent"))
        archive.answer = answer
        with serving(archive) as url:
            return refused(lambda: fetch_study(url, study, "study", timeout_s=0.5))

    return make


def of_objects(spoilt: Callable[[], Reply]) -> Make:
    """A fetch of which every object is spoilt."""
    return fetched(lambda method, path, body: spoilt() if "/instances/" in path else None)


def of_all(spoilt: Callable[[], Reply]) -> Make:
    return fetched(lambda method, path, body: spoilt())


def of_series(modality: str, objects: int) -> Make:
    """A fetch of a study of one series."""
    item: dict[str, str | int] = {"0020000E": CT_UID, "00080060": modality, "00201209": objects}
    return fetched(lambda method, path, body: listing(item) if path.endswith("/series") else None)


def unreachable(folder: Path) -> Printed:
    with serving(Archive()) as url:
        pass
    return refused(lambda: fetch_study(url, STUDY, "study"))


def changing(folder: Path) -> Printed:
    archive = Archive(ct_objects(folder / "sent"))

    def grow(method: str, path: str, body: bytes) -> None:
        if "/instances/" in path:
            archive.objects.setdefault("9.9", b"")

    archive.answer = grow
    with serving(archive) as url:
        return refused(lambda: fetch_study(url, STUDY, "study"))


def further_file(folder: Path) -> Printed:
    with serving(Archive(ct_objects(folder / "sent"))) as url:
        (fetch_study(url, STUDY, "study").folders[0] / "notes.txt").touch()
        return refused(lambda: fetch_study(url, STUDY, "study"))


def late(*_: object) -> Reply:
    time.sleep(1)
    return Reply()


def slow(folder: Path) -> Printed:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Archive, "reply", late)
        return fetched()(folder)


def stored(spoil: Callable[[Path], object], answer: Answer = lambda method, path, body: None) -> Callable[..., None]:
    """Store the results of a series, of which something is changed."""

    def run() -> None:
        folder = Path()
        write_phantom(folder / "scan")
        predict_files(["scan"], "masks", small_predictor(folder.absolute()), pictures=False)
        spoil(folder / "masks")
        archive = Archive()
        archive.answer = answer
        with serving(archive) as url:
            store_results("masks", url)

    return run


def without_objects(folder: Path) -> Printed:
    scan(folder)
    predict_files(["scans"], "masks", small_predictor(folder), pictures=False)
    return refused(lambda: store_results("masks", "http://127.0.0.1"))


def refused_object(status: int) -> Make:
    """The error that is logged for an object; the command goes on with the next."""

    def make(folder: Path) -> Printed:
        run = stored(lambda masks: None, lambda method, path, body: Reply(b"{}", status))
        return Printed(ERROR, logged(run, "i2net.pacs").text)

    return make


def without_tls(folder: Path) -> Printed:
    with serving(Archive()) as url:
        return refused(lambda: fetch_study(url.replace("http:", "https:"), STUDY, "study", timeout_s=2))


FAULTS: dict[str, Make] = {
    "URL that is none": address("pacs.example.org/dicom-web"),
    "login in the URL": address("https://anna:secret@pacs.example.org/dicom-web"),
    "unencrypted connection": lambda folder: logged(lambda: DicomWeb("http://192.0.2.1:8042/dicom-web")),
    "user without a password": login(**{USER: "anna"}),
    "token that is none": login(**{TOKEN: "two words"}),
    "damaged netrc file": login("machine pacs.example.org login anna pasword secret"),
    "study that is no UID": fetched(study="DOE^JOHN"),
    "server that cannot be reached": unreachable,
    "server that does not answer": slow,
    "server without TLS": without_tls,
    "timeout of 0": lambda folder: refused(lambda: DicomWeb("http://127.0.0.1", 0)),
    "login not accepted": of_all(lambda: Reply(status=401)),
    "login without the permission": of_all(lambda: Reply(status=403)),
    "redirect": of_all(lambda: Reply(status=302, Location="http://127.0.0.1/")),
    "server that fails": of_all(lambda: Reply(status=503)),
    "page instead of a list": of_all(lambda: Reply(b"<html>", kind="text/html")),
    "study that the server does not have": of_all(lambda: Reply(status=404)),
    "study without images": of_series("SR", 1),
    "study that has not arrived": of_series("CT", 9),
    "study that vanishes half-way": of_objects(lambda: Reply(status=404)),
    "truncated reply": of_objects(lambda: one_part(b"DICM", cut=20)),
    "damaged object": of_objects(lambda: one_part(b"DICM")),
    "series that changes meanwhile": changing,
    "further file in the folder of a series": further_file,
    "results without DICOM objects": without_objects,
    "damaged result": lambda folder: refused(
        stored(lambda masks: [path.write_bytes(b"junk") for path in masks.glob("*_mask.dcm")])
    ),
    "refused object": refused_object(413),
    "object that the server does not confirm": refused_object(200),
    "missing result": lambda folder: refused(
        stored(lambda masks: [path.unlink() for path in masks.glob("*_mask.dcm")])
    ),
}
