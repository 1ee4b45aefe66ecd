"""A claimed size is refused if the file cannot contain it or the memory cannot hold it."""

from __future__ import annotations

from types import SimpleNamespace

import psutil
import pytest

from i2net_bundle.io.claimed_size import DEFLATE_RATIO, MOST_UNCHECKED_BYTES, require_stored
from i2net_bundle.io.findings import DataError

LARGE = 2 * MOST_UNCHECKED_BYTES


@pytest.mark.parametrize(("ratio", "stored"), [(1, LARGE), (DEFLATE_RATIO, LARGE // 1000), (0.5, 2 * LARGE)])
def test_a_claim_that_the_file_can_hold_passes(ratio: float, stored: int) -> None:
    require_stored("a.nii", LARGE, stored, ratio)
    with pytest.raises(DataError, match=r"a\.nii: is truncated or damaged: its header claims 134\.2 MB, and a file of"):
        require_stored("a.nii", LARGE, stored // 2, ratio)


def test_a_small_claim_passes_whatever_the_file_contains() -> None:
    require_stored("a.nii", MOST_UNCHECKED_BYTES, 0, 1)


def test_a_claim_of_thousands_of_digits_is_refused_in_few_words() -> None:
    with pytest.raises(DataError, match=r"its header claims more than 1 EB, and a file of 100 bytes cannot hold that"):
        require_stored("a.nrrd", 10**5000, 100)


def test_a_claim_that_the_memory_cannot_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=LARGE - 1))
    with pytest.raises(DataError, match=r"a\.nii: needs 134\.2 MB of memory, and 134\.2 MB are available"):
        require_stored("a.nii", LARGE, LARGE, 1)


def test_more_than_a_gigabyte_in_an_implausibly_small_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=10**12))
    with pytest.raises(
        DataError, match=r"a\.nii\.gz: has 3\.0 MB and unpacks to 3\.0 GB, as no scan does\. If it is a"
    ):
        require_stored("a.nii.gz", 3 * 10**9, 3 * 10**6)
    require_stored("a.nii.gz", 3 * 10**9, 20 * 10**6)
    require_stored("a.nii.gz", 10**9, 10**6)
