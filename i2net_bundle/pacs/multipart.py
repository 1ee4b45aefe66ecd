"""Bodies of type ``multipart/related`` (RFC 2387) with one DICOM object, as DICOMweb exchanges them (PS3.18, 8.6)."""

from __future__ import annotations

import secrets
from email.message import Message


class MultipartError(ValueError):
    """A body is not a complete multipart body of one object."""


def one_object(body: bytes, content_type: str) -> bytes:
    r"""Extract the object of a body.

    Args:
        body: the body of a reply.
        content_type: its media type, ``multipart/related; boundary=…`` or ``application/dicom``.

    Raises:
        MultipartError: the type is another one, the body does not end with its boundary, or it has several parts.

    >>> one_object(b'--b\r\nContent-Type: application/dicom\r\n\r\nDICM\r\n--b--', 'multipart/related; boundary="b"')
    b'DICM'
    """
    header = Message()
    header["Content-Type"] = content_type
    kind, boundary = header.get_content_type(), header.get_boundary()
    if kind == "application/dicom":
        return body
    if kind != "multipart/related" or not boundary:
        raise MultipartError("sent no DICOM object")
    mark = b"--" + boundary.encode("latin-1", "replace")
    start = body.find(mark + b"\r\n")
    end = body.rfind(b"\r\n" + mark + b"--")
    content = body.find(b"\r\n\r\n", start)
    if start < 0 or content < 0 or end < content:
        raise MultipartError("sent an incomplete reply")
    if body.find(b"\r\n" + mark + b"\r\n", content, end) >= 0:
        raise MultipartError("sent several objects instead of one")
    return body[content + 4 : end]


def body_of(content: bytes) -> tuple[bytes, str]:
    """Return the body that contains one object, and its media type."""
    boundary = secrets.token_hex(16)
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode("ascii")
    kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
    return head + content + f"\r\n--{boundary}--\r\n".encode("ascii"), kind
