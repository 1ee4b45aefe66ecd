"""The command that shows predictions."""

from __future__ import annotations

import argparse
from typing import Any

from i2net_bundle.cli.answers import Answer
from i2net_bundle.cli.options import add_column_option, add_series_option

_VIEW = """\
Write one HTML page that shows the masks of a prediction over their images. It works offline, in any browser.

OUT is the output folder of `i2net predict`. Volumes are shown as slices and as a surface, histology as a slide that can
be moved and zoomed, each with the mask's outlines, statistics and warnings. The images are read again from where they
were; pass them as INPUT if they have moved, or if they are DICOM folders with hidden names."""


def add_commands(commands: Any) -> None:
    """Add ``view`` to the command line's subparsers."""
    view = commands.add_parser(
        "view",
        help="write a page with a viewer of images and masks",
        description=_VIEW,
        epilog="What the page shows: docs/prediction.md.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    view.add_argument("out", metavar="OUT", help="output folder of i2net predict")
    view.add_argument("inputs", nargs="*", metavar="INPUT", help="the inputs of the prediction, if they have moved")
    view.add_argument("--page", metavar="FILE", help="file to write (default OUT/view.html)")
    view.add_argument("--overwrite", action="store_true", help="replace an earlier page")
    view.add_argument(
        "--max-mb",
        type=float,
        default=100.0,
        metavar="MB",
        help="size of the page above which further images get their static picture only (default 100)",
    )
    add_column_option(view)
    add_series_option(view)
    view.set_defaults(run=_view)


def _view(arguments: argparse.Namespace) -> Answer:
    from i2net_bundle.reports.viewer.view_page import write_view

    page = write_view(
        arguments.out,
        arguments.page,
        arguments.inputs,
        arguments.overwrite,
        arguments.max_mb,
        arguments.series,
        arguments.column,
    )
    return Answer(str(page), {"page": str(page)})
