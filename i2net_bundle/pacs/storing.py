"""Store the DICOM objects of a prediction, such as its segmentations, on a DICOMweb server.

Each object keeps its SOPInstanceUID, by which the server recognises it if it is sent again.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import UID

from i2net_bundle.io.counted import counted
from i2net_bundle.io.privacy import quiet_dicom_libraries
from i2net_bundle.pacs.dicomweb import ArchiveError, DicomWeb
from i2net_bundle.prediction.cohort_record import WARNING
from i2net_bundle.prediction.prediction_folder import PredictionFolder, read_prediction_folder
from i2net_bundle.workflow.progress import Progress
from i2net_bundle.workflow.stopping import graceful_stop

logger = logging.getLogger("i2net.pacs")

_KEYWORDS = ("SOPInstanceUID", "SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID")


@dataclass
class Stored:
    """What was stored.

    Attributes:
        stored: names of the files that the server has.
        refused: names of the files that it refused, with the reasons.
    """

    stored: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


def store_results(out_dir: str | Path, url: str, timeout_s: float = 60.0) -> Stored:
    """Send the DICOM objects of a prediction by STOW-RS, one by one; all files stay where they are.

    Args:
        out_dir: output folder of ``i2net predict``.
        url: root of the DICOMweb services.
        timeout_s: longest wait for the next bytes of a reply.

    Raises:
        ArchiveError: the server cannot be reached, or refuses every object; what it has stays there.
        FileNotFoundError: the folder is no output folder, or contains no DICOM object.
        ValueError: the record or an object is damaged, or the URL or the login is invalid.
        Stopped: a signal arrived before the last object.
    """
    found = read_prediction_folder(out_dir)
    files = _objects(found)
    doubtful = sum(case.status == WARNING for case in found.cases)
    if doubtful:
        logger.warning(
            f"{out_dir}: {counted(doubtful, 'case')} with warnings. Their results are stored too; data_findings.csv "
            "lists the warnings."
        )
    result = Stored()
    with (
        DicomWeb(url, timeout_s) as server,
        graceful_stop() as stop,
        Progress(len(files), "storing", "object", logger) as progress,
    ):
        for path, uid in files.items():
            name = path.relative_to(found.folder).as_posix()
            try:
                reason = server.store(path.read_bytes(), uid)
            except ArchiveError as cause:
                raise ArchiveError(f"{cause} It has {len(result.stored)} of {len(files)} objects.") from None
            if reason is None:
                result.stored.append(name)
            else:
                result.refused[name] = reason
                logger.error(f"{name}: {server.host} did not store it ({reason}). The file is kept.")
            progress.step()
            if progress.done < len(files):
                stop.exit_if_requested(
                    f"{progress.done} of {len(files)} objects are sent. Run the same command again to send all; "
                    "none is stored twice."
                )
    return result


def _objects(found: PredictionFolder) -> dict[Path, str]:
    """The DICOM files that the record names, checked to be objects inside the folder, with their SOPInstanceUIDs."""
    names = [str(name) for case in found.cases for name in case.files if str(name).endswith(".dcm")]
    if not names:
        raise FileNotFoundError(
            f"{found.folder} contains no DICOM objects. They are written for DICOM series, with highdicom: "
            "pip install 'i2net-bundle[pacs]'."
        )
    return {found.folder / name: _checked_uid(found.folder, name) for name in names}


def _checked_uid(folder: Path, name: str) -> str:
    """SOPInstanceUID of a DICOM object."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{folder}: its record names a file outside the folder: {name}")
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing. Run `i2net predict` again with --overwrite.")
    with quiet_dicom_libraries():
        try:
            content = dcmread(path, stop_before_pixels=True, specific_tags=list(_KEYWORDS))
            uids = [UID(str(content.get(keyword))) for keyword in _KEYWORDS]
        except Exception:  # damaged bytes lead pydicom to many errors
            uids = []
    if not uids or not all(uid.is_valid for uid in uids):
        raise ValueError(f"{path} is no DICOM object, or damaged. Run `i2net predict` again with --overwrite.")
    return str(uids[0])
