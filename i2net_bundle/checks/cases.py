"""Check one case of any kind, or a list of cases before work starts."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from tqdm import tqdm

from i2net_bundle.checks.empty_labels import with_empty_labels_joined
from i2net_bundle.checks.histology import check_histology
from i2net_bundle.checks.scans import check_volume
from i2net_bundle.checks.verified import Verdicts
from i2net_bundle.data.image_files import image_paths
from i2net_bundle.io.findings import DataError, Finding, error, errors, reading, shown_file
from i2net_bundle.io.handover import keeping_decoded
from i2net_bundle.io.options import HistologyOptions, VolumeOptions
from i2net_bundle.io.writing import write_csv

logger = logging.getLogger("i2net.checks")


def check_case(
    case: Mapping[str, Any], options: VolumeOptions | HistologyOptions, verdicts: Verdicts | None = None
) -> list[Finding]:
    """Find the faults of a case; faults are returned, not raised.

    Args:
        case: path under "image" (or one per channel), and optionally under "label".
        options: how its files are read; the type distinguishes volumes from 2D images.
        verdicts: record of cases that passed before.
    """
    files = _files(case)
    key = None
    if verdicts is not None:
        with suppress(OSError, DataError):  # the check reports files that cannot be opened
            key = verdicts.key(files, options)
        if key in verdicts:
            return []
    check: Any = check_volume if isinstance(options, VolumeOptions) else check_histology
    paths = image_paths(case)
    try:
        with reading(paths[0]):  # so that the check of many cases goes on
            findings: list[Finding] = check(paths[0] if len(paths) == 1 else paths, case.get("label"), options)
    except DataError as fault:
        return fault.findings
    if verdicts is not None and key is not None and not findings:
        verdicts.add(key)
    return findings


def _files(case: Mapping[str, Any]) -> list[Any]:
    return [*image_paths(case), *([case["label"]] if "label" in case else [])]


class CheckedCases(list):
    """A list of cases that is checked on creation. What the check decodes is kept for its next reading.

    Args:
        cases: ``[{"image": path, "label": path}, ...]``.
        options: how their files are read.
        skip_failed: whether to continue without the cases that cannot be used.

    Attributes:
        findings: all findings, including the errors of skipped cases.
        failed: the skipped cases.

    Raises:
        DataError: cases cannot be used and ``skip_failed`` is false, or none is left; names all of them.
    """

    def __init__(
        self,
        cases: Sequence[Mapping[str, Any]],
        options: VolumeOptions | HistologyOptions,
        skip_failed: bool = False,
    ) -> None:
        verdicts = Verdicts()
        self.findings: list[Finding] = []
        self.failed: list[Mapping[str, Any]] = []
        with keeping_decoded():
            for case in tqdm(cases, desc="checking cases", unit="case", disable=None):
                found = check_case(case, options, verdicts)
                self.findings += found
                if errors(found):
                    self.failed.append(case)
                else:
                    self.append(dict(case))
        self.findings = with_empty_labels_joined(self.findings, [cases])
        faults = errors(self.findings)
        if faults and not (skip_failed and self):
            raise DataError(faults)
        for finding in self.findings:
            logger.log(logging.ERROR if finding.severity == "error" else logging.WARNING, str(finding))


class FindingsRecord:
    """Handler that writes the findings to the run's folder.

    ``data_findings.csv`` contains every finding, ``failed.csv`` the skipped cases; see also `stop_if_failed`.

    Args:
        cases: the checked cases; a plain list, as MONAI Label passes, has no findings.
        output_dir: folder of the two files, which are only written if they have rows.
    """

    def __init__(self, cases: Sequence[Mapping[str, Any]], output_dir: str | Path) -> None:
        self.cases, self.output_dir = cases, Path(output_dir)

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer or evaluator."""
        if isinstance(self.cases, CheckedCases):
            engine.add_event_handler(Events.STARTED, self._write, self.cases)

    def _write(self, cases: CheckedCases) -> None:
        write_findings(self.output_dir, cases.findings)
        reasons = {finding.file: str(finding) for finding in reversed(errors(cases.findings))}
        failed = [
            [
                shown_file(image_paths(case)[0]),
                next(reasons[path] for path in map(shown_file, _files(case)) if path in reasons),
            ]
            for case in cases.failed
        ]
        write_csv(self.output_dir / "failed.csv", ["image", "reason"], failed)


def stop_if_failed(cases: Sequence[Mapping[str, Any]], output_dir: str | Path) -> None:
    """End a run with an error if cases were skipped: its results are incomplete.

    Args:
        cases: the checked cases; a plain list is accepted.
        output_dir: folder of ``failed.csv``.

    Raises:
        DataError: names their number and the file that lists them.
    """
    if isinstance(cases, CheckedCases) and cases.failed:
        raise DataError(
            [
                error(
                    "failed-cases",
                    Path(output_dir, "failed.csv"),
                    f"lists {len(cases.failed)} of {len(cases) + len(cases.failed)} cases that could not be used; the "
                    "others are done",
                    "Correct those files and run them again.",
                )
            ]
        )


def write_findings(output_dir: Path, findings: Sequence[Finding]) -> None:
    """Write findings to ``data_findings.csv`` in the folder; without findings there is no such file."""
    rows = [[f.severity, f.rule, f.file, f.problem, f.remedy] for f in findings]
    write_csv(output_dir / "data_findings.csv", ["severity", "rule", "file", "problem", "remedy"], rows)
