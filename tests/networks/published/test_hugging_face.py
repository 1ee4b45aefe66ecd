"""Networks of transformers: their size, and a missing library."""

from __future__ import annotations

import sys

import pytest

from i2net_bundle.networks.published import segformer_b2, upernet_swin


def test_segformer_has_the_encoder_b2() -> None:
    pytest.importorskip("transformers")
    assert sum(p.numel() for p in segformer_b2(3, 1).parameters()) / 1e6 == pytest.approx(27.35, abs=0.01)


@pytest.mark.parametrize("build", [segformer_b2, upernet_swin])
def test_a_missing_library_is_named_with_its_installation(build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(
        ImportError, match=r"needs the library transformers: pip install 'i2net-bundle\[transformers\]'"
    ):
        build()
