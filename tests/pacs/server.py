"""A DICOMweb server of a few lines, whose replies a test can spoil; and a study for it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import pydicom

from tests.io.dicom.files import CT_UID, write_ct

STUDY = "1.2.3"
JSON = "application/dicom+json"


class Reply:
    """What the server sends: a status, a body, and headers; ``cut`` bytes of the body are not sent."""

    def __init__(self, body: bytes = b"", status: int = 200, kind: str = JSON, cut: int = 0, **headers: str) -> None:
        self.body, self.status, self.kind, self.cut, self.headers = body, status, kind, cut, headers


class Archive:
    """Objects of one study by UID, and what was asked: method, path and login.

    Attributes:
        answer: called with method, path and body; its reply precedes the usual one, unless it is None.
    """

    def __init__(self, objects: Mapping[str, bytes] = {}) -> None:
        self.objects, self.asked = dict(objects), list[tuple[str, str, str | None]]()
        self.answer: Callable[[str, str, bytes], Reply | None] = lambda method, path, body: None

    def reply(self, method: str, path: str, body: bytes) -> Reply:
        spoilt = self.answer(method, path, body)
        if spoilt is not None:
            return spoilt
        if method == "POST":
            return confirmed(body)
        path, _, query = path.partition("?")
        if "offset" in query:
            return Reply(b"", 204)
        if path.endswith("/series"):
            return listing({"0020000E": CT_UID, "00080060": "CT", "00201209": len(self.objects)})
        if path.endswith("/instances"):
            return listing(*({"00080018": uid} for uid in self.objects))
        found = self.objects.get(path.rpartition("/")[2])
        return Reply(status=404) if found is None else one_part(found)


def listing(*items: Mapping[str, str | int]) -> Reply:
    """A list in DICOM JSON."""
    return Reply(json.dumps([{tag: {"Value": [value]} for tag, value in item.items()} for item in items]).encode())


def confirmed(body: bytes) -> Reply:
    """The reply to a stored object."""
    content = pydicom.dcmread(BytesIO(body.partition(b"\r\n\r\n")[2]), stop_before_pixels=True)
    uid = {"00081155": {"Value": [str(content.SOPInstanceUID)]}}
    return Reply(json.dumps({"00081199": {"Value": [uid]}}).encode())


def one_part(content: bytes, cut: int = 0, end: bytes = b"\r\n--b--\r\n") -> Reply:
    """A multipart reply with one object."""
    body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + content + end
    return Reply(body, kind='multipart/related; type="application/dicom"; boundary=b', cut=cut)


@contextmanager
def serving(archive: Archive) -> Iterator[str]:
    """Serve an archive on the loopback interface, and yield the root of its services."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            archive.asked.append((self.command, self.path, self.headers.get("Authorization")))
            reply = archive.reply(self.command, self.path.removeprefix("/dicom-web"), body)
            self.send_response(reply.status)
            for name, value in {"Content-Type": reply.kind, "Content-Length": len(reply.body), **reply.headers}.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(reply.body[: len(reply.body) - reply.cut])

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/dicom-web"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def ct_objects(folder: Path) -> dict[str, bytes]:
    """A CT of four slices, by SOPInstanceUID."""
    paths = sorted(write_ct(folder).glob("*.dcm"))
    return {str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID): path.read_bytes() for path in paths}
