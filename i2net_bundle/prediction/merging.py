"""Merge the parts of a cohort into one folder, as one process would have written it."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from i2net_bundle.io.counted import counted
from i2net_bundle.prediction.case_files import PICTURES
from i2net_bundle.prediction.cohort_record import (
    RECORD,
    TABLES,
    CaseRecord,
    CohortRecord,
    read_cases,
    read_record,
    recorded_settings,
    refuse_other_settings,
)
from i2net_bundle.prediction.cohort_result import CohortResult
from i2net_bundle.prediction.parts import Part, part_folders
from i2net_bundle.workflow.folder_lock import folder_lock

logger = logging.getLogger("i2net.prediction")


def merge_parts(out_dir: str | Path) -> CohortResult:
    """Move the masks of all parts into the output folder, and write its tables.

    Everything is checked before the first file is moved. The files are renamed, not copied. A merge that was
    interrupted is completed by the next call.

    Args:
        out_dir: output folder that contains the folders of the parts.

    Returns:
        the outcome of every case, in the order of the inputs.

    Raises:
        FileNotFoundError: there are no parts, or a part or one of its files is missing.
        FileExistsError: a file is in the output folder already.
        FolderInUseError: another process writes to a part.
        ValueError: a part is not complete, or the parts have other settings, inputs or cases.
    """
    out_dir = Path(out_dir)
    parts = part_folders(out_dir)
    if not parts:
        raise FileNotFoundError(f"{out_dir} contains no parts of a cohort. Make them with `i2net predict --part K/N`.")
    with ExitStack() as locks:
        for folder in (*parts.values(), out_dir):
            locks.enter_context(folder_lock(folder))
        outcomes = _merged_before(out_dir, parts) or _merge(out_dir, parts)
        for folder in parts.values():
            for name in (*TABLES, RECORD):
                (folder / name).unlink(missing_ok=True)
    for folder in parts.values():
        with suppress(OSError):
            (folder / PICTURES).rmdir()
        try:
            folder.rmdir()
        except OSError:
            logger.warning(f"{folder}: was kept, because it contains files that are not of the prediction.")
    return CohortResult(out_dir, outcomes)


def _merged_before(out_dir: Path, parts: Mapping[Part, Path]) -> list[CaseRecord]:
    """Outcomes of a merge that was interrupted after its last table was written; empty if there was none.

    Raises:
        FileExistsError: the output folder contains predictions of other cases.
    """
    if not (out_dir / RECORD).is_file() or read_record(out_dir).get("complete") is not True:
        return []
    merged = read_cases(out_dir)
    names = {outcome.case for outcome in merged}
    for folder in parts.values():
        if any(outcome.case not in names for outcome in read_cases(folder)):
            raise FileExistsError(
                f"{out_dir} already contains predictions of other cases than {folder}. Move one of them."
            )
    return merged


def _merge(out_dir: Path, parts: Mapping[Part, Path]) -> list[CaseRecord]:
    records = _checked_records(out_dir, parts)
    first = records[next(iter(parts))]
    settings = recorded_settings(first)
    outcomes = _cases_in_order(parts, records)
    moves: dict[Path, Path] = {}
    for part, folder in parts.items():
        own = records[part]["part"]["places"]
        moves |= _moves(out_dir, folder, [outcome for outcome in outcomes if outcome.case in own])
    if (out_dir / RECORD).is_file():
        refuse_other_settings(out_dir, settings)
    merged = CohortRecord(out_dir, settings, versions=first.get("versions"))
    for source, target in moves.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(source, target)
    merged.outcomes = {outcome.case: outcome for outcome in outcomes}
    merged.write_tables([], complete=True)
    return outcomes


def _checked_records(out_dir: Path, parts: Mapping[Part, Path]) -> dict[Part, dict[str, Any]]:
    """Read the records of the parts.

    Raises:
        FileNotFoundError: a part is missing.
        ValueError: a part is not complete, or the parts do not belong together.
    """
    divisions = sorted({part.of for part in parts})
    if len(divisions) > 1:
        raise ValueError(
            f"{out_dir} contains parts of {divisions[0]} and of {divisions[1]}. Keep those of one division."
        )
    missing = [str(number) for number in range(1, divisions[0] + 1) if Part(number, divisions[0]) not in parts]
    if missing:
        raise FileNotFoundError(
            f"{out_dir} lacks {'part' if len(missing) == 1 else 'parts'} {', '.join(missing)} of {divisions[0]}. "
            f"Predict with --part {missing[0]}/{divisions[0]} first."
        )
    records = {part: read_record(folder) for part, folder in parts.items()}
    for part, record in records.items():
        if record.get("complete") is not True or not isinstance(record.get("part"), dict):
            raise ValueError(
                f"{parts[part]} is not complete. Run the same command with --part {part} --continue first."
            )
    first = next(iter(parts))
    settings = recorded_settings(records[first])
    for part, record in records.items():
        refuse_other_settings(parts[part], settings)
        own, others = record["part"], records[first]["part"]
        if own.get("cohort_sha256") != others.get("cohort_sha256"):
            raise ValueError(
                f"Part {part} was made of {own.get('cohort')} images, part {first} of {others.get('cohort')}, and they "
                "are not the same. Run all parts again with the same inputs and --continue."
            )
        if record.get("versions") != records[first].get("versions"):
            logger.warning(f"Part {part} was made with other versions of packages than part {first}: see {RECORD}.")
    return records


def _has_places(record: Mapping[str, Any]) -> bool:
    part = record.get("part")
    places = part.get("places") if isinstance(part, dict) else None
    return isinstance(places, dict) and all(isinstance(place, int) for place in places.values())


def _cases_in_order(parts: Mapping[Part, Path], records: Mapping[Part, Mapping[str, Any]]) -> list[CaseRecord]:
    """Outcomes of all parts, in the order of the inputs.

    Raises:
        ValueError: a part lacks a case of its own.
    """
    places: dict[str, int] = {}
    outcomes: dict[str, CaseRecord] = {}
    for part, folder in parts.items():
        own = records[part]["part"]["places"]
        found = {outcome.case: outcome for outcome in read_cases(folder)}
        lacking = [name for name in own if name not in found]
        if lacking:
            raise ValueError(
                f"{folder} lacks {counted(len(lacking), 'case')} of its own. Run its command again with --part {part} "
                "--continue."
            )
        places |= own
        outcomes |= {name: found[name] for name in own}
    return [outcomes[name] for name in sorted(places, key=places.__getitem__)]


def _moves(out_dir: Path, folder: Path, outcomes: Sequence[CaseRecord]) -> dict[Path, Path]:
    """Files of a part to move, and where.

    Raises:
        FileExistsError: a target exists.
        FileNotFoundError: a file is neither in the part nor, after an interrupted merge, in the output folder.
        ValueError: a record names a file outside its folder.
    """
    moves: dict[Path, Path] = {}
    for name in (name for outcome in outcomes for name in outcome.files):
        source, target = folder / name, out_dir / name
        if not source.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"{folder} records a file outside of it. Predict this part again.")
        if source.is_file():
            if target.exists():
                raise FileExistsError(f"{target} exists and would be replaced. Move it elsewhere, and merge again.")
            moves[source] = target
        elif not target.is_file():
            raise FileNotFoundError(f"{source} is missing. Predict its part again with --continue, and merge again.")
    return moves
