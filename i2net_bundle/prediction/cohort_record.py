"""Record of the predictions in an output folder. An interrupted prediction can be continued from it.

``prediction.json`` contains the settings and is written first. ``cases.jsonl`` gets a line when all files of a case are
complete, so a mask without a line belongs to a case that was interrupted. All other tables are made from these two.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import i2net_bundle
from i2net_bundle.checks.cases import write_findings
from i2net_bundle.data.image_files import image_paths
from i2net_bundle.io.findings import Finding, Severity
from i2net_bundle.io.json_files import write_json
from i2net_bundle.io.writing import naming_full_disk, write_csv, write_rows, written_whole
from i2net_bundle.prediction.statistics import flat_rows
from i2net_bundle.workflow.folder_lock import contains_results

FAILED, RECORD, CASES, FINDINGS = "failed.csv", "prediction.json", "cases.jsonl", "data_findings.csv"
PAGE = "view.html"
"""Page about the folder, see `i2net_bundle.reports.viewer`; it is removed when a result changes."""
OK, WARNING, ERROR = "ok", "warning", "failed"
TABLES = (FAILED, CASES, "statistics.json", "statistics.csv", FINDINGS, PAGE)
_OUTCOME_KEYS = ("complete", "status", "images", "seconds", "failed", "versions", "part")


@dataclass(frozen=True)
class CaseRecord:
    """Outcome of one case.

    Attributes:
        case: name of the case.
        image: its image, as `find_inputs` shows it.
        status: "ok", "warning" or "failed".
        seconds: computing time.
        image_state: digest of size and time of the image's files, see `image_state`.
        files: names of the written files in the output folder.
        statistics: see `i2net_bundle.prediction.statistics`.
        implausible: why the mask is implausible.
        findings: findings of the checks.
        reason: why the case failed.
    """

    case: str
    image: str
    status: str
    seconds: float = 0.0
    image_state: str = ""
    files: tuple[str, ...] = ()
    statistics: dict[str, Any] = field(default_factory=dict)
    implausible: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    reason: str = ""

    def as_json(self) -> dict[str, Any]:
        """The outcome as JSON data."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> CaseRecord:
        """Read an outcome; raises an error of any type for damaged content."""
        findings = tuple(Finding(Severity(item.pop("severity")), **item) for item in content["findings"])
        lists = {name: tuple(content[name]) for name in ("files", "implausible")}
        return cls(**{**content, **lists, "findings": findings})


class CohortRecord:
    """The record in an output folder.

    Args:
        out_dir: output folder, locked by this process.
        settings: settings that decide the result, as JSON data.
        resume: continue the record in the folder.
        part: which share of a cohort the folder has, as `describe_part` gives it; None if it has the whole cohort.
        versions: versions of the packages; default is `package_versions`.

    Attributes:
        outcomes: outcome of every finished case, by name.

    Raises:
        FileExistsError: ``resume`` is on, and the folder contains files but no record.
        ValueError: ``resume`` is on, and the recorded settings differ.
    """

    def __init__(
        self,
        out_dir: Path,
        settings: Mapping[str, Any],
        resume: bool = False,
        part: Mapping[str, Any] | None = None,
        versions: Mapping[str, str] | None = None,
    ) -> None:
        self.out_dir, self.part = out_dir, part
        self.versions = package_versions() if versions is None else versions
        self.settings = json.loads(json.dumps({**settings, "i2net_bundle": i2net_bundle.__version__}))
        self.outcomes: dict[str, CaseRecord] = {}
        if resume and contains_results(out_dir):
            refuse_other_settings(out_dir, self.settings)
            self.outcomes = {item.case: item for item in read_cases(out_dir)}
            self._write_cases()  # without a line that was cut off
        else:
            for name in TABLES:
                (out_dir / name).unlink(missing_ok=True)
        self._write_record(complete=False)

    def is_done(self, case: Mapping[str, Any]) -> bool:
        """Whether a case was segmented from the same files, and all its results exist."""
        found = self.outcomes.get(case["case"])
        return (
            found is not None
            and found.status != ERROR
            and found.image_state == image_state(case)
            and all((self.out_dir / name).is_file() for name in found.files)
        )

    def add(self, outcome: CaseRecord) -> None:
        """Add the outcome of a case, and write it to the disk.

        Raises:
            DiskFullError: the disk is full.
        """
        path = self.out_dir / CASES
        line = json.dumps(outcome.as_json(), ensure_ascii=False) + "\n"
        with naming_full_disk(path), path.open("a", encoding="utf-8") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self.outcomes[outcome.case] = outcome
        (self.out_dir / PAGE).unlink(missing_ok=True)

    def write_tables(self, cases: Iterable[str], complete: bool) -> None:
        """Write all tables.

        Args:
            cases: names of the cases, in the order of the tables; finished cases that are not among them follow.
            complete: whether no case is left.
        """
        names = dict.fromkeys([*cases, *self.outcomes])
        self.outcomes = {name: self.outcomes[name] for name in names if name in self.outcomes}
        outcomes = list(self.outcomes.values())
        write_csv(self.out_dir / FAILED, ["image", "reason"], [[o.image, o.reason] for o in outcomes if o.reason])
        write_findings(self.out_dir, [finding for outcome in outcomes for finding in outcome.findings])
        segmented = [outcome for outcome in outcomes if outcome.status != ERROR]
        write_json(self.out_dir / "statistics.json", {o.case: _statistics(o) for o in segmented})
        rows = [{**row, "status": o.status} for o in segmented for row in flat_rows(o.case, o.statistics)]
        write_rows(self.out_dir / "statistics.csv", rows)
        self._write_cases()
        self._write_record(complete)

    def _write_cases(self) -> None:
        lines = [json.dumps(outcome.as_json(), ensure_ascii=False) + "\n" for outcome in self.outcomes.values()]
        with written_whole(self.out_dir / CASES) as temporary:
            temporary.write_text("".join(lines), encoding="utf-8")

    def _write_record(self, complete: bool) -> None:
        outcomes = self.outcomes.values()
        content = {
            **self.settings,
            **({} if self.part is None else {"part": self.part}),
            "complete": complete,
            "status": {outcome.case: outcome.status for outcome in outcomes},
            "images": {outcome.case: outcome.image for outcome in outcomes},
            "seconds": {outcome.case: outcome.seconds for outcome in outcomes if outcome.status != ERROR},
            "failed": [outcome.image for outcome in outcomes if outcome.status == ERROR],
            "versions": self.versions,
        }
        write_json(self.out_dir / RECORD, content)


def package_versions() -> dict[str, str]:
    """Versions of the packages that a prediction depends on."""
    names = ("torch", "monai", "nibabel", "SimpleITK")
    return {"i2net_bundle": i2net_bundle.__version__, **{name: version(name) for name in names}}


def read_record(folder: Path) -> dict[str, Any]:
    """Read ``prediction.json`` of a folder.

    Raises:
        ValueError: it is missing, damaged, or contains anything else.
    """
    path = folder / RECORD
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as cause:
        raise ValueError(f"{path} cannot be read ({cause}). Choose another output folder.") from cause
    if not isinstance(content, dict):
        raise ValueError(f"{path} cannot be read (it is no JSON object). Choose another output folder.")
    return content


def recorded_settings(record: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in a record, without its outcomes."""
    return {name: value for name, value in record.items() if name not in _OUTCOME_KEYS}


def read_cases(folder: Path) -> list[CaseRecord]:
    """Read the outcomes in a folder; a line that is damaged or cut off counts as a case that is not done."""
    path, outcomes = folder / CASES, []
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n") if path.is_file() else []:
        try:
            outcomes.append(CaseRecord.from_json(json.loads(line)))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            continue
    return outcomes


def refuse_other_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Check that a folder's record has these settings.

    Raises:
        ValueError: it has others, or cannot be read.
    """
    recorded = read_record(folder)
    differing = [name for name in settings if recorded.get(name) != settings[name]]
    if differing:
        shown = "; ".join(f"{name} {_short(recorded.get(name))}, here {_short(settings[name])}" for name in differing)
        raise ValueError(
            f"{folder / RECORD} records predictions with {shown}. Continue with the same weights and options, or "
            "choose another output folder."
        )


def image_state(case: Mapping[str, Any]) -> str:
    """Digest of the size and modification time of a case's files."""
    states = []
    for path in map(Path, image_paths(case)):
        files = sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else [path]
        states += [(file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]
    return hashlib.sha256(repr(states).encode()).hexdigest()[:16]


def _statistics(outcome: CaseRecord) -> dict[str, Any]:
    return outcome.statistics | ({"warnings": list(outcome.implausible)} if outcome.implausible else {})


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:200]}…"
