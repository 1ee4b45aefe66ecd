"""Commands that present evaluations: the report of a run, and the comparison of several runs."""

from __future__ import annotations

import argparse
from typing import Any

from i2net_bundle.cli.answers import Answer

_REPORT = """\
Write one HTML page about a run, and its figures as PNG.

RUN is the output_dir of a training run, evaluated or not, or the folder of an evaluation. The page says what is missing
and which command creates it."""

_COMPARE = """\
Compare runs case by case: mean differences, their confidence intervals, and Wilcoxon's signed-rank test.

RUN is the output_dir of a run, or the folder of an evaluation. All others are compared with the first."""


def add_commands(commands: Any) -> None:
    """Add ``report`` and ``compare`` to the command line's subparsers."""
    formatter = argparse.RawDescriptionHelpFormatter
    epilog = "What the figures and tests mean: docs/reports.md."

    report = commands.add_parser(
        "report", help="write a page about a run", description=_REPORT, epilog=epilog, formatter_class=formatter
    )
    report.add_argument("run_dir", metavar="RUN", help="folder of a run, or of an evaluation")
    report.add_argument("--out", metavar="DIR", help="folder to write, missing or empty (default RUN/report)")
    report.add_argument("--max-cases", type=int, default=20, metavar="N", help="cases in the gallery (default 20)")
    report.set_defaults(run=_report)

    compare = commands.add_parser(
        "compare", help="compare runs, paired by case", description=_COMPARE, epilog=epilog, formatter_class=formatter
    )
    compare.add_argument("run_dirs", metavar="RUN", nargs="+", help="folders of two or more runs or evaluations")
    compare.add_argument(
        "--out", metavar="DIR", help="folder for comparison.md, .tex and .csv, missing or empty (default: print only)"
    )
    compare.add_argument("--common-only", action="store_true", help="leave out cases that some run lacks")
    compare.set_defaults(run=_compare)


def _report(arguments: argparse.Namespace) -> Answer:
    from i2net_bundle.reports.report import write_report

    page = write_report(arguments.run_dir, arguments.out, arguments.max_cases)
    return Answer(str(page), {"page": page})


def _compare(arguments: argparse.Namespace) -> Answer:
    from i2net_bundle.reports.comparison import compare_runs
    from i2net_bundle.reports.comparison_tables import markdown, write_comparison

    comparison = compare_runs(arguments.run_dirs, common_only=arguments.common_only)
    text, written = markdown(comparison), None
    if arguments.out is not None:
        written = write_comparison(comparison, arguments.out)
        text += f"\nWritten: {written}"
    return Answer(text, {"written": written, "markdown": markdown(comparison)})
