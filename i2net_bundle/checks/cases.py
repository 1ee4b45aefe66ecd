"""The check of one case, whatever its kind, and of a list of them before work starts."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from tqdm import tqdm

from i2net_bundle.checks.histology import check_histology
from i2net_bundle.checks.scans import check_volume
from i2net_bundle.checks.verified import Verdicts
from i2net_bundle.data.image_files import image_paths
from i2net_bundle.io.findings import DataError, Finding, error, errors
from i2net_bundle.io.options import HistologyOptions, VolumeOptions
from i2net_bundle.io.privacy import shown_path
from i2net_bundle.io.writing import write_csv

logger = logging.getLogger("i2net.checks")


def check_case(
    case: Mapping[str, Any], options: VolumeOptions | HistologyOptions, verdicts: Verdicts | None = None
) -> list[Finding]:
    """Find the faults of a case; none is raised.

    Args:
        case: path under "image", or one per channel, and, if it has one, "label".
        options: how its files are read; their type tells volumes from 2D images.
        verdicts: memory of what was checked before.
    """
    files = _files(case)
    key = None
    if verdicts is not None:
        with suppress(OSError):  # the check names every file that cannot be opened
            key = verdicts.key(files, options)
        if key in verdicts:
            return []
    check: Any = check_volume if isinstance(options, VolumeOptions) else check_histology
    paths = image_paths(case)
    findings: list[Finding] = check(paths[0] if len(paths) == 1 else paths, case.get("label"), options)
    if verdicts is not None and key is not None and not findings:
        verdicts.add(key)
    return findings


def _files(case: Mapping[str, Any]) -> list[Any]:
    return [*image_paths(case), *([case["label"]] if "label" in case else [])]


class CheckedCases(list):
    """A list of cases, checked when it is made.

    Args:
        cases: ``[{"image": path, "label": path}, ...]``.
        options: how their files are read.
        skip_failed: go on with the cases that can be used; otherwise one that cannot be stops the work.

    Attributes:
        findings: what the checks found, errors of the cases left out included.
        failed: the cases left out.

    Raises:
        DataError: cases cannot be used, and they are not to be skipped, or none is left; names all of them.
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
        for case in tqdm(cases, desc="checking cases", unit="case", disable=None):
            found = check_case(case, options, verdicts)
            self.findings += found
            if errors(found):
                self.failed.append(case)
            else:
                self.append(dict(case))
        faults = errors(self.findings)
        if faults and not (skip_failed and self):
            raise DataError(faults)
        for finding in self.findings:
            logger.log(logging.ERROR if finding.severity == "error" else logging.WARNING, str(finding))


class FindingsRecord:
    """Handler that keeps what the checks found in the run's folder.

    ``data_findings.csv`` holds every finding, ``failed.csv`` the cases left out; see also `stop_if_failed`.

    Args:
        cases: the checked cases; a plain list, as MONAI Label passes, has nothing to tell.
        output_dir: folder of the two files, written only where there is something to tell.
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
                shown_path(image_paths(case)[0]),
                next(reasons[path] for path in map(shown_path, _files(case)) if path in reasons),
            ]
            for case in cases.failed
        ]
        write_csv(self.output_dir / "failed.csv", ["image", "reason"], failed)


def stop_if_failed(cases: Sequence[Mapping[str, Any]], output_dir: str | Path) -> None:
    """End a run with an error when cases were left out of it, so that nobody takes its results for complete.

    Args:
        cases: the checked cases; a plain list passes.
        output_dir: folder of ``failed.csv``.

    Raises:
        DataError: names how many and where they are listed.
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
    """Keep findings in the folder's ``data_findings.csv``; without any there is no such file, see `write_csv`."""
    rows = [[f.severity, f.rule, f.file, f.problem, f.remedy] for f in findings]
    write_csv(output_dir / "data_findings.csv", ["severity", "rule", "file", "problem", "remedy"], rows)
