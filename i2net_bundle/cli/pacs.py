"""The commands that exchange studies and results with a PACS."""

from __future__ import annotations

import argparse
from typing import Any

from i2net_bundle.cli.answers import Answer
from i2net_bundle.io.counted import counted

_FETCH = """\
Fetch the CT, MR and PET series of a study from a PACS by DICOMweb, into one folder per series, for `i2net predict DIR`.

URL is the root of the DICOMweb services. A series appears in DIR when all of it is there and whole; the same command
continues an interrupted fetch. The login comes from the environment or ~/.netrc: docs/pacs.md."""

_STORE = """\
Store the DICOM objects of a prediction in a PACS by DICOMweb: segmentations, reports and contours.

OUT is the output folder of `i2net predict`, URL the root of the DICOMweb services. All files stay in OUT, and storing
them again makes no duplicates. The exit status is 1 if the server refused an object, and 3 if it refused all. The login
comes from the environment or ~/.netrc: docs/pacs.md."""


def add_commands(commands: Any) -> None:
    """Add ``fetch`` and ``store`` to the subparsers of the command line."""
    fetch = commands.add_parser(
        "fetch",
        help="fetch a study from a PACS (DICOMweb)",
        description=_FETCH,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    fetch.add_argument("url", metavar="URL", help="DICOMweb services, such as https://pacs.example.org/dicom-web")
    fetch.add_argument("--study", required=True, metavar="UID", help="StudyInstanceUID")
    fetch.add_argument("--series", metavar="UID", help="SeriesInstanceUID (default: all series of images)")
    fetch.add_argument("-o", "--out", required=True, metavar="DIR", help="output folder")
    fetch.set_defaults(run=_fetch)

    store = commands.add_parser(
        "store",
        help="store results in a PACS (DICOMweb)",
        description=_STORE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    store.add_argument("out", metavar="OUT", help="output folder of i2net predict")
    store.add_argument("url", metavar="URL", help="DICOMweb services, such as https://pacs.example.org/dicom-web")
    store.set_defaults(run=_store)
    for command in (fetch, store):
        command.add_argument(
            "--timeout", type=float, default=60.0, metavar="SECONDS", help="longest wait for the server (default 60)"
        )


def _fetch(arguments: argparse.Namespace) -> Answer:
    from i2net_bundle.pacs.fetching import fetch_study

    fetched = fetch_study(arguments.url, arguments.study, arguments.out, arguments.series, arguments.timeout)
    lines = [str(folder) for folder in fetched.folders]
    lines.append(f"{counted(fetched.objects, 'object')} fetched, {fetched.present:,} were there.")
    if fetched.skipped:
        others = ", ".join(f"{count} {name}" for name, count in fetched.skipped.items())
        lines.append(f"Series that are no CT, MR or PET: {others}; skipped.")
    content = {
        "folders": list(map(str, fetched.folders)),
        "fetched": fetched.objects,
        "present": fetched.present,
        "skipped": fetched.skipped,
    }
    return Answer("\n".join(lines), content)


def _store(arguments: argparse.Namespace) -> Answer:
    from i2net_bundle.pacs.storing import store_results

    result = store_results(arguments.out, arguments.url, arguments.timeout)
    text = f"{counted(len(result.stored), 'object')} stored, {len(result.refused):,} refused."
    status = 0 if not result.refused else 1 if result.stored else 3
    return Answer(text, {"stored": result.stored, "refused": result.refused}, status)
