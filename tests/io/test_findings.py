"""Findings name the file, whatever a library raises, and cannot change the state of a terminal."""

from __future__ import annotations

import logging
import pickle

import pytest

from i2net_bundle.io.findings import DataError, error, reading
from i2net_bundle.io.printable import PrintableFormatter, printable_lines


def test_names_and_values_from_files_are_escaped_in_a_message() -> None:
    found = error("spacing", "a\x1b[2J\n.nii", "has the spacing 4 x \x00 x \u202e8", "Choose:\n  1. \x9b31mCT")
    assert str(found) == r"a\x1b[2J\n.nii: has the spacing 4 x \x00 x \u202e8. Choose:" + "\n" + r"  1. \x9b31mCT"


def test_a_name_that_is_not_utf_8_can_be_printed() -> None:
    name = b"r\xf6ntgen.nii".decode("utf-8", "surrogateescape")
    assert str(error("empty", name, "is empty", "Copy it.")).encode() == rb"r\udcf6ntgen.nii: is empty. Copy it."


def test_letters_of_any_language_are_kept() -> None:
    assert printable_lines("Größe 肝臓\nПечень") == "Größe 肝臓\nПечень"


@pytest.mark.parametrize(
    "fault", [KeyError("x"), OverflowError("too\nlarge"), RecursionError("deep"), AssertionError(), OSError("cut off")]
)
def test_any_error_of_a_reader_becomes_a_finding_of_its_file(fault: Exception) -> None:
    with pytest.raises(DataError, match=rf"^a\.nii: cannot be read: .*\({type(fault).__name__}.*\)\. Dow"):  # noqa: SIM117
        with reading("a.nii"):
            raise fault


def test_an_error_of_the_system_is_no_damage() -> None:
    with pytest.raises(DataError, match=r"^a\.nii: cannot be read \(File name too long\)\. Check the path") as caught:  # noqa: SIM117
        with reading("a.nii"):
            raise OSError(36, "File name too long", "a.nii")
    assert "Errno" not in str(caught.value)


def test_too_little_memory_is_named() -> None:
    with pytest.raises(DataError, match=r"^a\.nii: needs more memory than is available"), reading("a.nii"):
        raise MemoryError


def test_a_finding_passes_through_and_survives_a_process() -> None:
    with pytest.raises(DataError, match=r"^b\.nii: is empty") as caught, reading("a.nii"):
        raise DataError([error("empty", "b.nii", "is empty", "Copy it.")])
    assert pickle.loads(pickle.dumps(caught.value)).findings == caught.value.findings


def test_log_records_are_escaped() -> None:
    formatter = PrintableFormatter("%(levelname)s %(message)s")
    record = logging.LogRecord("i2net", logging.INFO, "", 0, "read %s\nnext", ("a\x1b]0;title\x07.nii",), None)
    assert formatter.format(record) == r"INFO read a\x1b]0;title\x07.nii" + "\nnext"
