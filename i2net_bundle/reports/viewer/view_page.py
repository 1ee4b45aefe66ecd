"""Write the page that shows an output folder of `i2net predict`: one HTML file that needs no network."""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader
from tqdm import tqdm

import i2net_bundle
from i2net_bundle.io.findings import DataError, Finding
from i2net_bundle.io.options import HistologyOptions, VolumeOptions
from i2net_bundle.io.printable import printable
from i2net_bundle.io.privacy import without_identifiers
from i2net_bundle.io.writing import written_whole
from i2net_bundle.prediction.cohort_record import PAGE, CaseRecord
from i2net_bundle.prediction.plausibility import MASK_RULE
from i2net_bundle.prediction.prediction_folder import (
    PredictionFolder,
    load_case,
    locate_images,
    read_prediction_folder,
)
from i2net_bundle.reports.embedding import as_base64, as_webp, webp_url
from i2net_bundle.reports.phantom_notice import phantom_notice
from i2net_bundle.reports.viewer.shown_slide import show_slide
from i2net_bundle.reports.viewer.shown_volume import show_volume
from i2net_bundle.reports.viewer.statistics_tables import StatisticsTable, image_table, organ_table
from i2net_bundle.workflow.errors import message_of

logger = logging.getLogger("i2net.reports")

MOST_MB = 100.0
_LIBRARIES = {True: "niivue.umd.js", False: "openseadragon.min.js"}  # of volumes, of 2D images
_LICENSES = {True: "niivue.LICENSE.txt", False: "openseadragon.LICENSE.txt"}
_SCRIPTS = {True: "view_volume.js", False: "view_slide.js"}


@dataclass
class ShownCase:
    """A case of the page.

    Attributes:
        record: its record.
        table: its statistics.
        picture: data URL of its static picture; empty if there is none.
        data: by name, what the viewer decodes when the case is chosen, base64.
        facts: what the viewer needs to draw the data.
        notes: sentences below the viewer.
    """

    record: CaseRecord
    table: StatisticsTable
    picture: str = ""
    data: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def findings(self) -> list[Finding]:
        """Findings of the checks, without those about the mask, which the page lists as warnings."""
        return [finding for finding in self.record.findings if not finding.rule.startswith(MASK_RULE)]

    @property
    def size(self) -> int:
        """Characters on the page, without its text."""
        return len(self.picture) + sum(map(len, [*self.data.values(), *self.facts.get("paths", {}).values()]))


def write_view(
    out_dir: str | Path,
    page: str | Path | None = None,
    inputs: Sequence[str | Path] = (),
    overwrite: bool = False,
    most_mb: float = MOST_MB,
    series: int | str | None = None,
    column: str | None = None,
) -> Path:
    """Write one page about all cases of a prediction.

    Args:
        out_dir: output folder of ``i2net predict``.
        page: file to write; default is ``view.html`` in the output folder.
        inputs: the images that were segmented; default is where the record says they are.
        overwrite: replace an earlier page.
        most_mb: size of the page in MB above which further cases get their static picture only.
        series: series of DICOM folders, if it was chosen by its UID.
        column: column of lists among the inputs, see `i2net_bundle.prediction.inputs.find_inputs`.

    Returns:
        path of the page.

    Raises:
        FileExistsError: the page exists, and ``overwrite`` is off.
        FileNotFoundError: the folder contains no prediction.
        ValueError: its record is damaged.
        DiskFullError: the page does not fit on the disk.
    """
    found = read_prediction_folder(out_dir, series)
    target = Path(page) if page is not None else found.folder / PAGE
    if target.exists() and not overwrite:
        raise FileExistsError(f"{target} exists. Replace it with --overwrite, or choose another file with --page.")
    located = locate_images(found, inputs, series, column)
    scripts = [_library(_LIBRARIES[found.task.volumes]), *map(_template, ("view.js", _SCRIPTS[found.task.volumes]))]
    license = _library(_LICENSES[found.task.volumes])
    cases, characters = [], sum(map(len, [*scripts, license]))
    for record in tqdm(found.cases, desc="drawing cases", unit="image", disable=None):
        case = _show(found, record, located.get(record.case))
        if case.data and characters + case.size > most_mb * 1e6:
            case.data, case.facts = {}, {}
            case.notes = [
                f"Only the static picture is shown, because the page has reached its limit of {most_mb:g} MB. "
                "Raise it with --max-mb, or write a page for fewer images."
            ]
            logger.warning(f"{record.case}: only its static picture is on the page, which has reached {most_mb:g} MB")
        characters += case.size
        cases.append(case)
    with written_whole(target) as temporary:
        temporary.write_text(_page(found, cases, scripts, license), encoding="utf-8")
    return target


def _show(found: PredictionFolder, record: CaseRecord, paths: Sequence[str] | None) -> ShownCase:
    volumes = found.task.volumes
    case = ShownCase(record, organ_table(record, found.classes) if volumes else image_table(record))
    picture = found.folder / "pictures" / f"{record.case}.png"
    if picture.resolve().is_relative_to(found.folder.resolve()) and picture.is_file():
        case.picture = _static(picture)
    try:
        values, mask, affine = load_case(found, record, paths)
        if isinstance(values, Path):
            _add_slide(case, values, mask, found)
        else:
            assert affine is not None and isinstance(found.options, VolumeOptions)
            _add_volume(case, values, mask, affine, found.options.channels)
    except (OSError, ValueError) as fault:
        reason = _reason(fault)
        logger.warning(f"{record.case}: {reason}. Only its static picture is on the page.")
        case.notes = [f"Only the static picture is shown: {reason}"]
    return case


def _reason(fault: Exception) -> str:
    """A fault in words, without the folders of this computer."""
    if isinstance(fault, DataError):
        return " ".join(f"its image or mask {finding.problem}. {finding.remedy}" for finding in fault.findings)
    return printable(without_identifiers(message_of(fault)))


def _static(picture: Path) -> str:
    try:
        return webp_url(as_webp(picture, 85))
    except (OSError, ValueError):  # a damaged picture; the masks are shown without it
        return ""


def _add_volume(
    case: ShownCase, values: np.ndarray, mask: np.ndarray, affine: np.ndarray, channels: Sequence[str]
) -> None:
    shown = show_volume(values, mask, affine, channels)
    case.data = {"image": as_base64(shown.image), "mask": as_base64(shown.mask)}
    case.data |= {f"surface-{index}": as_base64(content) for index, content in shown.surfaces.items()}
    case.facts = {"surfaces": shown.surface_frames, "unit": shown.unit, "start": list(shown.start)}
    case.notes = list(shown.notes)


def _add_slide(case: ShownCase, path: Path, mask: np.ndarray, found: PredictionFolder) -> None:
    assert isinstance(found.options, HistologyOptions)
    shown = show_slide(path, mask, found.options)
    case.data = {"image": as_base64(shown.picture)}
    case.facts = {
        "paths": shown.paths,
        "size": list(shown.size),
        "px_per_px": shown.step,
        "um_per_px": shown.um_per_px,
    }
    case.notes = list(shown.notes)


def _page(found: PredictionFolder, cases: Sequence[ShownCase], scripts: Sequence[str], license: str) -> str:
    volumes = found.task.volumes
    trained_on = "; ".join(str(item["trained_on"]) for item in found.weights if item.get("trained_on"))
    environment = Environment(loader=PackageLoader("i2net_bundle.reports"), autoescape=True)
    return environment.get_template("view.html.j2").render(
        title=f"Predicted masks: {found.folder.resolve().name}",
        notice=phantom_notice(trained_on or None, None),
        volumes=volumes,
        complete=found.complete,
        cases=cases,
        failed=found.failed,
        classes=[{"index": index, "name": item.name, "color": item.color} for index, item in _drawn(found)],
        facts=[case.facts for case in cases],
        weights=found.weights,
        scripts=scripts,
        policy=_policy(scripts),
        license=license,
        version=i2net_bundle.__version__,
    )


def _drawn(found: PredictionFolder) -> list[tuple[int, Any]]:
    """Classes with their indices, without the background."""
    return list(enumerate(found.classes))[1:]


def _policy(scripts: Sequence[str]) -> str:
    """A content policy that allows these scripts only, and no connection."""
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return f"default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src {allowed}"


def _library(name: str) -> str:
    """A vendored file, without the address of its source map, which a browser's tools would look for."""
    text = files("i2net_bundle.reports.viewer").joinpath("vendored", name).read_text(encoding="utf-8")
    return "\n".join(line for line in text.split("\n") if not line.startswith("//# sourceMappingURL="))


def _template(name: str) -> str:
    return files("i2net_bundle.reports").joinpath("templates", name).read_text(encoding="utf-8")
