"""Every fault in docs/faults.md is reproduced, and prints the message on the page."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.faults import (
    clusters,
    data_sets,
    dicom,
    histology,
    itk,
    nifti,
    pacs,
    prediction,
    runs,
    sites,
    studies,
    touching_glands,
    weights,
)
from tests.docs.faults.table import NOTHING, Make, Row, rows

SECTIONS: dict[str, dict[str, Make]] = {
    "Volumes and labels (NIfTI)": nifti.FAULTS,
    "Histology": histology.FAULTS,
    "NRRD and MetaImage": itk.FAULTS,
    "DICOM": dicom.FAULTS,
    "Data sets": data_sets.FAULTS,
    "Weights, records and configurations": weights.FAULTS,
    "Runs": runs.FAULTS,
    "Prediction and evaluation": prediction.FAULTS,
    "Touching glands": touching_glands.FAULTS,
    "Several processes and machines": clusters.FAULTS,
    "Several sites": sites.FAULTS,
    "PACS": pacs.FAULTS,
    "Studies": studies.FAULTS,
}
ROWS = rows()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.section}: {row.fault}")
def test_a_fault_prints_what_the_page_says(row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    printed = SECTIONS[row.section][row.fault](folder)
    text = printed.text.replace(f"{folder}/", "").replace(str(folder), "work")
    assert printed.severity == row.severity, text
    assert row.severity == NOTHING or row.matches(text), text


def test_every_fault_that_is_made_has_a_row() -> None:
    made = {(section, fault) for section, faults in SECTIONS.items() for fault in faults}
    assert made == {(row.section, row.fault) for row in ROWS}
