"""Client of a DICOMweb server (PS3.18): QIDO-RS to search, WADO-RS to retrieve, STOW-RS to store.

What the server sends is data: sizes are limited, UIDs are checked, and no text of a reply reaches a message, because it
may name a patient. Messages name the host but no path, which contains UIDs. Redirects are not followed, since they
could lead credentials and images to another host.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import i2net_bundle
from i2net_bundle.io.privacy import quiet_loggers
from i2net_bundle.pacs.credentials import TOKEN, authorization
from i2net_bundle.pacs.multipart import MultipartError, body_of, one_object

logger = logging.getLogger("i2net.pacs")

_INSTALL = "DICOMweb needs requests: pip install 'i2net-bundle[pacs]'."
_CONNECT_S = 10.0
_MOST_JSON_BYTES = 2**26
_MOST_OBJECT_BYTES = 2**31
_CHUNK_BYTES = 2**20
_JSON = "application/dicom+json"
_OBJECT = 'multipart/related; type="application/dicom"; transfer-syntax=*'
"""Any transfer syntax: the server sends what it stores, and decompresses nothing."""
_FAILED_SEQUENCE, _FAILURE_REASON = "00081198", "00081197"
_STORED_SEQUENCE, _STORED_UID = "00081199", "00081155"
_DUPLICATE = 0x0111
_SLOW = ("it does not answer in time", "Allow more with --timeout, or try later")
_REASONS = (
    (0xA700, 0xA7FF, "out of resources"),
    (0xA900, 0xA9FF, "the object does not match its SOP class"),
    (0xC122, 0xC122, "transfer syntax not supported"),
    (0xC000, 0xCFFF, "it cannot be understood"),
    (0x0110, 0x0110, "processing failure"),
    (0x0122, 0x0122, "SOP class not supported"),
    (0x0124, 0x0124, "not authorised"),
)
"""Ranges of failure reasons (PS3.18, Table I.2-2)."""

Item = Mapping[str, Any]
"""An object of the DICOM JSON model (PS3.18, F.2): attributes by tag."""


class ArchiveError(ConnectionError):
    """The server cannot be reached, or does not do what was asked."""


class MissingError(ArchiveError):
    """The server does not have the resource."""


def is_uid(text: str) -> bool:
    """Whether a text is a UID (PS3.5, 9.1); components with leading zeros are accepted.

    >>> is_uid("1.2.840.113"), is_uid("../patients"), is_uid("1..2")
    (True, False, False)
    """
    return len(text) <= 64 and re.fullmatch(r"[0-9]+(\.[0-9]+)*", text, re.ASCII) is not None


def value_of(item: Item, tag: str) -> str:
    """Return the first value of an attribute as text, or "" if there is none."""
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, Mapping) else None
    first = values[0] if isinstance(values, list) and values else ""
    return str(first) if isinstance(first, str | int | float) else ""


class DicomWeb:
    """A DICOMweb server. Use it as a context manager; within it, urllib3 logs nothing, because it logs paths.

    Args:
        url: root of the services, such as ``https://pacs.example.org/dicom-web``.
        timeout_s: longest wait for the next bytes of a reply.

    Raises:
        ImportError: requests is not installed.
        ValueError: the URL is no HTTP address or contains credentials, or the credentials are invalid.
    """

    def __init__(self, url: str, timeout_s: float = 60.0) -> None:
        try:
            import requests
        except ImportError as cause:
            raise ImportError(_INSTALL) from cause
        self.host, hostname = _checked_host(url)
        if not timeout_s > 0:
            raise ValueError(f"The timeout is {timeout_s:g} s; pass a number of seconds above 0.")
        self._root, self._timeout = url.rstrip("/"), (_CONNECT_S, timeout_s)
        self._session = requests.Session()
        self._session.headers["User-Agent"] = f"i2net-bundle/{i2net_bundle.__version__}"
        self._session.headers["Accept-Encoding"] = "identity"
        self._session.auth = _Authorization(authorization(hostname))  # also keeps requests from reading netrc itself
        if url.lower().startswith("http:") and not _is_loopback(hostname):
            logger.warning(f"{self.host}: the connection is not encrypted. Use https if the server offers it.")

    def __enter__(self) -> DicomWeb:
        self._quiet = quiet_loggers("urllib3", "requests")
        self._quiet.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._session.close()
        self._quiet.__exit__(None, None, None)

    def search(self, path: str, uid_tag: str, **query: str) -> dict[str, Item]:
        """Search by QIDO-RS, page by page until the server has no more.

        Args:
            path: resource below the root, such as ``studies/UID/series``.
            uid_tag: tag of the UID that identifies a match.
            query: attributes to match or to include.

        Returns:
            matches by UID, in the order of the server.

        Raises:
            MissingError: the server has no such resource.
            ArchiveError: it cannot be reached or refuses, or its reply is invalid.
        """
        found: dict[str, Item] = {}
        while True:
            parameters = {**query, "offset": str(len(found))} if found else query
            _, body = self._get(path, _JSON, _MOST_JSON_BYTES, parameters)
            page = {value_of(item, uid_tag): item for item in self._items(body)}
            if not all(map(is_uid, page)):
                raise self._invalid("sent an invalid list")
            if page.keys() <= found.keys():  # the end, or a server that ignores the offset
                return found
            found |= page

    def retrieve(self, path: str) -> bytes:
        """Retrieve one object by WADO-RS, as the server stores it.

        Args:
            path: resource below the root, ``studies/UID/series/UID/instances/UID``.

        Raises:
            MissingError: the server has no such object.
            ArchiveError: it cannot be reached or refuses, or its reply is incomplete.
        """
        kind, body = self._get(path, _OBJECT, _MOST_OBJECT_BYTES, {})
        try:
            return one_object(body, kind)
        except MultipartError as cause:
            raise self._invalid(str(cause)) from None

    def store(self, content: bytes, uid: str) -> str | None:
        """Store one object by STOW-RS. An object that the server has already counts as stored.

        Args:
            content: the object, as a file.
            uid: its SOPInstanceUID, which the server must confirm.

        Returns:
            why the server refused it, or None.

        Raises:
            ArchiveError: the server cannot be reached, refuses every object, or its reply is invalid.
        """
        body, kind = body_of(content)
        headers = {"Content-Type": kind, "Accept": _JSON}
        with self._reply("POST", "studies", headers=headers, data=body) as reply:
            status = reply.status_code
            if status in (401, 403, 404, 405) or 300 <= status < 400:
                self._require(status, "storing")
            answer = self._body(reply, _MOST_JSON_BYTES) if status in (200, 202, 409) else b""
        item = _parsed(answer)
        if uid in {value_of(stored, _STORED_UID) for stored in _sequence(item, _STORED_SEQUENCE)}:
            return None
        reasons = {value_of(failed, _FAILURE_REASON) for failed in _sequence(item, _FAILED_SEQUENCE)}
        codes = sorted(int(reason) for reason in reasons if reason.isdecimal())
        if codes:
            return None if codes == [_DUPLICATE] else _reason(codes[0])
        return "its reply does not confirm it" if status in (200, 202) else f"HTTP status {status}"

    def _get(self, path: str, accept: str, most_bytes: int, query: Mapping[str, str]) -> tuple[str, bytes]:
        with self._reply("GET", path, headers={"Accept": accept}, params=query) as reply:
            if reply.status_code == 204:  # no match
                return _JSON, b"[]"
            self._require(reply.status_code, "reading")
            return reply.headers.get("Content-Type", ""), self._body(reply, most_bytes)

    @contextmanager
    def _reply(self, method: str, path: str, **how: Any) -> Iterator[Any]:
        """Send a request; whatever fails until the block ends becomes an `ArchiveError` without the path."""
        import requests
        import urllib3

        try:
            with self._session.request(
                method, f"{self._root}/{path}", stream=True, allow_redirects=False, timeout=self._timeout, **how
            ) as reply:
                yield reply
        except requests.exceptions.SSLError:
            problem = "no secure connection: its certificate is not trusted, or it does not use TLS"
            remedy = "Set REQUESTS_CA_BUNDLE to the certificate of its authority, or check the URL"
        except requests.exceptions.Timeout:
            problem, remedy = _SLOW
        except (requests.exceptions.ChunkedEncodingError, urllib3.exceptions.HTTPError):
            problem, remedy = "the connection ended within a reply", "Check the network"
        except requests.exceptions.ConnectionError as cause:
            if cause.args and isinstance(cause.args[0], urllib3.exceptions.ReadTimeoutError):
                problem, remedy = _SLOW
            else:
                problem, remedy = "it cannot be reached", "Check the URL, the network, and that the server runs"
        except requests.exceptions.RequestException as cause:
            problem, remedy = f"the request failed ({type(cause).__name__})", "Check the URL and the proxy settings"
        else:
            return
        raise ArchiveError(f"{self.host}: {problem}. {remedy}; then run the command again.")

    def _body(self, reply: Any, most_bytes: int) -> bytes:
        body = bytearray()
        for chunk in reply.iter_content(_CHUNK_BYTES):
            body += chunk
            if len(body) > most_bytes:
                raise self._invalid(f"sent more than {most_bytes / 1e6:.0f} MB at once")
        return bytes(body)

    def _items(self, body: bytes) -> list[Item]:
        items = _parsed(body or b"[]")
        if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
            raise self._invalid("sent no DICOM JSON")
        return items

    def _require(self, status: int, action: str) -> None:
        if status == 200:
            return
        if status == 401:
            raise ArchiveError(
                f"{self.host}: {action} needs a login that it accepts (HTTP status 401). Set {TOKEN}, or a user and a "
                "password: docs/pacs.md."
            )
        if status == 403:
            raise ArchiveError(f"{self.host}: {action} is not permitted (HTTP status 403). Ask for the permission.")
        if status == 404:
            raise MissingError(f"{self.host}: not found (HTTP status 404). Check the URL of the DICOMweb services.")
        if 300 <= status < 400:
            raise ArchiveError(
                f"{self.host}: redirects to another address (HTTP status {status}), which is not followed. Pass the "
                "URL that it redirects to."
            )
        raise ArchiveError(f"{self.host}: {action} failed (HTTP status {status}). Try again, or look at its log.")

    def _invalid(self, problem: str) -> ArchiveError:
        return ArchiveError(
            f"{self.host}: {problem}. Check the URL of the DICOMweb services, and run the command again."
        )


def _parsed(body: bytes) -> Any:
    """Parsed JSON; None if it is not JSON."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _sequence(item: Any, tag: str) -> list[Item]:
    """Items of a sequence; empty if there are none."""
    element = item.get(tag) if isinstance(item, Mapping) else None
    values = element.get("Value") if isinstance(element, Mapping) else None
    return [value for value in values if isinstance(value, Mapping)] if isinstance(values, list) else []


class _Authorization:
    """Sets the header of each request."""

    def __init__(self, value: str | None) -> None:
        self._value = value

    def __call__(self, request: Any) -> Any:
        if self._value is not None:
            request.headers["Authorization"] = self._value
        return request


def _checked_host(url: str) -> tuple[str, str]:
    """Host with its port, for messages, and the name alone."""
    try:
        parts = urlsplit(url)
        port, hostname = parts.port, parts.hostname
    except ValueError:
        parts, port, hostname = urlsplit(""), None, None
    if "@" in parts.netloc:
        raise ValueError(
            f"The URL contains a login, which others can see. Leave it out, and set {TOKEN}: docs/pacs.md."
        )
    if parts.scheme not in ("http", "https") or not hostname or parts.query or parts.fragment:
        raise ValueError(
            "The URL is not that of a DICOMweb server. Pass the root of its services, such as "
            "https://pacs.example.org/dicom-web."
        )
    return (hostname if port is None else f"{hostname}:{port}"), hostname


def _is_loopback(hostname: str) -> bool:
    try:
        return ipaddress.ip_address(hostname).is_loopback
    except ValueError:
        return hostname == "localhost"


def _reason(code: int) -> str:
    for first, last, text in _REASONS:
        if first <= code <= last:
            return f"{text} (failure reason {code:04X})"
    return f"failure reason {code:04X}"
