"""Credentials for a DICOMweb server: from the environment or ``~/.netrc``, never from a command line.

A command line is visible to other users of the machine and stays in the history of the shell.
"""

from __future__ import annotations

import base64
import netrc
import os
from collections.abc import Mapping
from pathlib import Path

TOKEN, USER, PASSWORD = "I2NET_DICOMWEB_TOKEN", "I2NET_DICOMWEB_USER", "I2NET_DICOMWEB_PASSWORD"
"""Environment variables: a bearer token (RFC 6750), or a user and a password (RFC 7617)."""


def authorization(host: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the value of the ``Authorization`` header for a host, or None.

    The token precedes user and password, and both precede the file named by ``NETRC``, by default ``~/.netrc``.

    Args:
        host: name without port.
        environment: environment variables.

    Raises:
        ValueError: user or password is missing, the token contains characters outside ASCII or white space, or the
            file cannot be parsed; no value is quoted.
    """
    token, user, password = (environment.get(name, "") for name in (TOKEN, USER, PASSWORD))
    if token:
        if not token.isascii() or not token.isprintable() or " " in token:
            raise ValueError(f"{TOKEN} contains characters that no token has. Set it to the token alone.")
        return f"Bearer {token}"
    if bool(user) != bool(password):
        given, missing = (USER, PASSWORD) if user else (PASSWORD, USER)
        raise ValueError(f"{given} is set, but {missing} is not. Set both, or neither.")
    if user:
        return _basic(user, password)
    path = Path(environment.get("NETRC") or Path.home() / ".netrc")
    if not path.is_file():
        return None
    try:
        found = netrc.netrc(str(path)).authenticators(host)
    except (netrc.NetrcParseError, OSError, UnicodeDecodeError):  # the message may quote a password
        raise ValueError(f"{path} cannot be read as a netrc file. Correct it, or set {TOKEN}.") from None
    return _basic(found[0], found[2]) if found else None


def _basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode('ascii')}"
