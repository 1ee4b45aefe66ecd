"""Fetch the CT, MR and PET series of a study from a DICOMweb server, one folder per series.

A series is collected in a hidden folder, which no search for cases enters, and gets its name when all objects that the
server lists are there and whole. So an interrupted or failed fetch leaves no case, and the next one continues it. File
names are digests of UIDs, since names of files are printed and UIDs identify a study.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pydicom import dcmread

from i2net_bundle.io.counted import counted
from i2net_bundle.io.dicom.headers import VOLUME_MODALITIES, read_header
from i2net_bundle.io.privacy import quiet_dicom_libraries
from i2net_bundle.io.writing import require_space, written_whole
from i2net_bundle.pacs.dicomweb import ArchiveError, DicomWeb, MissingError, is_uid, value_of
from i2net_bundle.workflow.folder_lock import folder_lock
from i2net_bundle.workflow.progress import Progress
from i2net_bundle.workflow.stopping import graceful_stop

logger = logging.getLogger("i2net.pacs")

PARTIAL = ".i2net-partial-"
"""Prefix of the folder of a series that is not complete."""

_STUDY, _SERIES, _OBJECT, _MODALITY, _COUNT = "0020000D", "0020000E", "00080018", "00080060", "00201209"
_UID_KEYWORDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


@dataclass
class Fetched:
    """What was fetched.

    Attributes:
        folders: folders of the series.
        objects: number of objects that were fetched.
        present: number of objects that were there already.
        skipped: number of series by modality that are no CT, MR or PET.
    """

    folders: list[Path] = field(default_factory=list)
    objects: int = 0
    present: int = 0
    skipped: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _RemoteSeries:
    """A series on the server, and where to save it.

    Attributes:
        study: UID of the study.
        uid: UID of the series.
        number: what messages call the series.
        objects: number of objects as the server states it; empty if it does not.
        folder: folder to save it in.
    """

    study: str
    uid: str
    number: int
    objects: str
    folder: Path

    @property
    def path(self) -> str:
        return f"studies/{self.study}/series/{self.uid}/instances"

    @property
    def partial(self) -> Path:
        return self.folder.with_name(f"{PARTIAL}{self.folder.name}")

    def file_name(self, uid: str) -> str:
        return f"{_digest(uid, 16)}.dcm"


def fetch_study(
    url: str, study: str, out_dir: str | Path, series: str | None = None, timeout_s: float = 60.0
) -> Fetched:
    """Fetch a study, or one series of it, into ``out_dir/MODALITY_DIGEST/DIGEST.dcm``.

    What is there and whole is not fetched again. A series that has grown on the server is completed.

    Args:
        url: root of the DICOMweb services.
        study: StudyInstanceUID.
        out_dir: output folder.
        series: SeriesInstanceUID; by default all CT, MR and PET series.
        timeout_s: longest wait for the next bytes of a reply.

    Raises:
        ArchiveError: the server cannot be reached, lacks the study, or sends something else; what is complete stays.
        ValueError: a UID, the URL or the login is invalid; or a folder contains files that the series does not.
        FolderInUseError: another process writes to the folder.
        DiskFullError: the disk is full.
        Stopped: a signal arrived before the last object.
    """
    for name, uid in (("--study", study), ("--series", series)):
        if uid is not None and not is_uid(uid):
            raise ValueError(f"{name} is not a UID: up to 64 digits and dots. Copy it from the viewer or the archive.")
    with DicomWeb(url, timeout_s) as server:
        wanted, skipped = _wanted(server, study, Path(out_dir), series)
        listed = {item: _listed(server, item) for item in wanted}
        result = Fetched(skipped=skipped)
        total = sum(map(len, listed.values()))
        with (
            folder_lock(out_dir),
            graceful_stop() as stop,
            Progress(total, "fetching", "object", logger) as progress,
        ):

            def step() -> None:
                progress.step()
                if progress.done < total:
                    stop.exit_if_requested(
                        f"{progress.done} of {total} objects are there. Run the same command again to fetch the others."
                    )

            for item in wanted:
                _fetch(server, item, listed[item], result, step)
                result.folders.append(item.folder)
    return result


def _wanted(
    server: DicomWeb, study: str, out_dir: Path, series: str | None
) -> tuple[list[_RemoteSeries], dict[str, int]]:
    """The series to fetch, and the number of others by modality."""
    query = {} if series is None else {"SeriesInstanceUID": series}
    try:
        found = server.search(f"studies/{study}/series", _SERIES, **query)
    except MissingError:
        found = {}
    if series is not None:
        found = {uid: item for uid, item in found.items() if uid == series}
    if not found:
        what = "study" if series is None else "series in a study"
        raise MissingError(
            f"{server.host}: has no {what} with the given UID. Check --study and --series, and the URL of the DICOMweb "
            "services."
        )
    modalities = {uid: value_of(item, _MODALITY) for uid, item in found.items()}
    others = Counter(name if name.isalpha() and name.isascii() else "other" for name in modalities.values())
    skipped = {name: count for name, count in sorted(others.items()) if name not in VOLUME_MODALITIES}
    taken = sorted(uid for uid, name in modalities.items() if name in VOLUME_MODALITIES)
    if not taken:
        raise MissingError(
            f"{server.host}: has no CT, MR or PET there, only {', '.join(skipped)}. Choose the series of the images."
        )
    remote = [
        _RemoteSeries(
            study,
            uid,
            number,
            value_of(found[uid], _COUNT),
            out_dir / f"{modalities[uid]}_{_digest(uid, 8)}",
        )
        for number, uid in enumerate(taken, 1)
    ]
    return remote, skipped


def _listed(server: DicomWeb, series: _RemoteSeries) -> list[str]:
    """UIDs of the objects of a series, sorted."""
    try:
        found = server.search(series.path, _OBJECT)
    except MissingError:
        found = {}
    expected = int(series.objects) if series.objects.isdecimal() else 1
    if len(found) < expected:
        raise MissingError(
            f"{server.host}: lists {len(found)} of {counted(expected, 'object')} of series {series.number}. Wait until "
            "the archive has the whole study, and run the command again."
        )
    return sorted(found)


def _fetch(server: DicomWeb, series: _RemoteSeries, uids: list[str], result: Fetched, step: Callable[[], None]) -> None:
    """Complete the folder of a series."""
    if series.folder.is_dir():
        if {path.name for path in series.folder.iterdir()} == {series.file_name(uid) for uid in uids} and all(
            _is_whole(series.folder / series.file_name(uid), series, uid) for uid in uids
        ):
            result.present += len(uids)
            for _ in uids:
                step()
            return
        series.folder.rename(series.partial)
    series.partial.mkdir(exist_ok=True)
    unknown = {path.name for path in series.partial.iterdir()} - {series.file_name(uid) for uid in uids}
    if unknown:
        series.partial.rename(series.folder)
        raise ValueError(
            f"{series.folder} contains {counted(len(unknown), 'file')} that the series on the server does not. Remove "
            "the folder or choose another --out; nothing is overwritten."
        )
    for uid in uids:
        path = series.partial / series.file_name(uid)
        if path.is_file() and _is_whole(path, series, uid):
            result.present += 1
        else:
            _fetch_object(server, series, uid, path)
            result.objects += 1
        step()
    if _listed(server, series) != uids:
        raise ArchiveError(
            f"{server.host}: series {series.number} changed while it was fetched. Wait until the archive has the whole "
            "study, and run the command again."
        )
    series.partial.rename(series.folder)


def _fetch_object(server: DicomWeb, series: _RemoteSeries, uid: str, path: Path) -> None:
    try:
        content = server.retrieve(f"{series.path}/{uid}")
    except MissingError:
        raise MissingError(
            f"{server.host}: no longer has an object of series {series.number} that it listed. Nothing of the series "
            "is taken as a case. Check that the study is still there, and run the command again."
        ) from None
    require_space(path, len(content))
    with written_whole(path) as temporary:
        temporary.write_bytes(content)
    if not _is_whole(path, series, uid):
        path.unlink()
        raise ArchiveError(
            f"{server.host}: sent a damaged or another object instead of one of series {series.number}. Nothing of the "
            "series is taken as a case. Run the command again; if it fails again, ask for the study to be checked."
        )


def _is_whole(path: Path, series: _RemoteSeries, uid: str) -> bool:
    """Whether a file is the DICOM object with these UIDs, with all its pixels."""
    with quiet_dicom_libraries():
        try:
            if read_header(path) is None:
                return False
            content = dcmread(path, stop_before_pixels=True, specific_tags=list(_UID_KEYWORDS))
            return [str(content.get(name)) for name in _UID_KEYWORDS] == [series.study, series.uid, uid]
        except Exception:  # damaged bytes lead pydicom to many errors
            return False


def _digest(uid: str, digits: int) -> str:
    return hashlib.sha256(uid.encode("ascii")).hexdigest()[:digits]
