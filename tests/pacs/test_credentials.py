"""Logins come from the environment or a netrc file, reach the server only, and are never repeated."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from i2net_bundle.pacs.credentials import authorization
from i2net_bundle.pacs.dicomweb import ArchiveError, DicomWeb
from tests.pacs.server import Archive, Reply, serving

BASIC = f"Basic {base64.b64encode(b'anna:geheim').decode()}"
USER = {"I2NET_DICOMWEB_USER": "anna", "I2NET_DICOMWEB_PASSWORD": "geheim"}


def nowhere(tmp_path: Path) -> dict[str, str]:
    return {"NETRC": str(tmp_path / "absent")}


def test_a_token_precedes_a_user_and_a_user_the_file(tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine pacs.example.org login anna password geheim\n")
    file = {"NETRC": str(tmp_path / "netrc")}
    assert authorization("pacs.example.org", {**file, **USER, "I2NET_DICOMWEB_TOKEN": "abc"}) == "Bearer abc"
    assert authorization("other.example.org", {**file, **USER}) == BASIC
    assert authorization("pacs.example.org", file) == BASIC
    assert authorization("other.example.org", file) is None
    assert authorization("pacs.example.org", nowhere(tmp_path)) is None


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"I2NET_DICOMWEB_USER": "anna"}, "I2NET_DICOMWEB_USER is set, but I2NET_DICOMWEB_PASSWORD is not"),
        ({"I2NET_DICOMWEB_PASSWORD": "geheim"}, "I2NET_DICOMWEB_PASSWORD is set, but I2NET_DICOMWEB_USER is not"),
        ({"I2NET_DICOMWEB_TOKEN": "geheim\r\nHost: x"}, "characters that no token has"),
    ],
)
def test_half_a_login_is_refused_without_its_values(environment: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        authorization("pacs.example.org", {**nowhere(tmp_path), **environment})
    assert "geheim" not in str(refused.value) and "anna" not in str(refused.value)


def test_a_damaged_netrc_file_is_refused_without_its_content(tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine pacs.example.org login anna pasword geheim\n")
    with pytest.raises(ValueError, match="cannot be read as a netrc file") as refused:
        authorization("pacs.example.org", {"NETRC": str(tmp_path / "netrc")})
    assert "geheim" not in str(refused.value)


def test_a_login_does_not_follow_a_redirect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("requests", reason="needs the extra 'pacs'")
    for name, value in USER.items():
        monkeypatch.setenv(name, value)
    first, second = Archive(), Archive()
    with serving(first) as url, serving(second) as other:
        first.answer = lambda method, path, body: Reply(b"", 302, Location=f"{other}/studies")
        with DicomWeb(url) as server, pytest.raises(ArchiveError, match="redirects to another address"):
            server.search("studies", "0020000D")
    assert [login for _, _, login in first.asked] == [BASIC]
    assert second.asked == []


@pytest.mark.parametrize("url", ["https://anna:geheim@pacs.example.org/dicom-web", "http://anna:geheim@[::1"])
def test_a_login_in_the_url_is_refused_without_repeating_it(url: str) -> None:
    pytest.importorskip("requests", reason="needs the extra 'pacs'")
    with pytest.raises(ValueError, match="URL") as refused:
        DicomWeb(url)
    assert "geheim" not in str(refused.value)
