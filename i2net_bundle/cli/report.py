"""Commands for results: the report of a run, and the comparison of runs."""

from __future__ import annotations

import argparse
from typing import Any

_REPORT = """\
Write one HTML page about a run, with its figures as PNG files.

RUN is the output_dir of a training run, with or without its evaluation, or the folder of an evaluation. The page names
what is missing, and the command that makes it."""

_COMPARE = """\
Compare runs case by case: confidence interval of the difference, and Wilcoxon signed-rank test.

RUN is the output_dir of a training run, or the folder of an evaluation. The other runs are compared with the first."""

_REPORT_EXAMPLES = """\
examples:
  i2net report runs/synapse
  i2net report runs/synapse --out page --max-cases 5

docs/reports.md explains the figures and tests."""

_COMPARE_EXAMPLES = """\
examples:
  i2net compare runs/synapse runs/unet
  i2net compare runs/synapse runs/unet --common-only --out comparison

docs/reports.md explains the figures and tests."""


def add_commands(commands: Any) -> None:
    """Add ``report`` and ``compare`` to the subparsers of the command line."""
    formatter = argparse.RawDescriptionHelpFormatter
    report = commands.add_parser(
        "report",
        help="write a page about a run",
        description=_REPORT,
        epilog=_REPORT_EXAMPLES,
        formatter_class=formatter,
    )
    report.add_argument("run_dir", metavar="RUN", help="folder of a run, or of an evaluation")
    report.add_argument("--out", metavar="DIR", help="output folder, absent or empty (default RUN/report)")
    report.add_argument("--max-cases", type=int, default=20, metavar="N", help="cases in the gallery (default 20)")
    report.set_defaults(run=_report)

    compare = commands.add_parser(
        "compare",
        help="compare runs, paired by case",
        description=_COMPARE,
        epilog=_COMPARE_EXAMPLES,
        formatter_class=formatter,
    )
    compare.add_argument("run_dirs", metavar="RUN", nargs="+", help="folders of two or more runs or evaluations")
    compare.add_argument(
        "--out", metavar="DIR", help="folder for comparison.md, .tex and .csv, absent or empty (default: print only)"
    )
    compare.add_argument("--common-only", action="store_true", help="compare only the cases that all runs have")
    compare.set_defaults(run=_compare)


def _report(arguments: argparse.Namespace) -> int:
    from i2net_bundle.reports.report import write_report

    print(write_report(arguments.run_dir, arguments.out, arguments.max_cases))
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    from i2net_bundle.reports.comparison import compare_runs
    from i2net_bundle.reports.comparison_tables import markdown, write_comparison

    comparison = compare_runs(arguments.run_dirs, common_only=arguments.common_only)
    print(markdown(comparison))
    if arguments.out is not None:
        print(f"Written: {write_comparison(comparison, arguments.out)}")
    return 0
