"""The commands that show predictions: as a page, or as surfaces for other programs."""

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

_SURFACES = """\
Write the surfaces of the organs of a mask, for 3D viewers, printers and simulations.

MASKS is the output folder of `i2net predict`, or the mask of a volume. stl, obj and ply: one file per organ,
DIR/CASE/ORGAN.stl, in mm, in DICOM's patient coordinates (LPS). glb: one file per case, DIR/CASE.glb, with all organs
in their colours, in metres. Surfaces are closed and enclose the volume of their voxels; DIR/surfaces.csv lists volumes
and areas. The exit status is 1 if a mask could not be used."""


def add_commands(commands: Any) -> None:
    """Add ``view`` and ``surfaces`` to the subparsers of the command line."""
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

    surfaces = commands.add_parser(
        "surfaces",
        help="write the surfaces of organs as STL, OBJ, PLY or GLB",
        description=_SURFACES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    surfaces.add_argument("masks", metavar="MASKS", help="output folder of i2net predict, or the mask of a volume")
    surfaces.add_argument("-o", "--out", required=True, metavar="DIR", help="output folder, absent or empty")
    surfaces.add_argument("--format", metavar="FORMAT", default="stl", help="stl (default), obj, ply or glb")
    surfaces.add_argument(
        "--labels", metavar="TABLE", help="label table of a mask file, for names and colours: built-in, or a JSON file"
    )
    surfaces.set_defaults(run=_surfaces)


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


def _surfaces(arguments: argparse.Namespace) -> Answer:
    from i2net_bundle.prediction.surface_files import write_surfaces

    written = write_surfaces(arguments.masks, arguments.out, arguments.format, arguments.labels)
    content = {"out": arguments.out, "surfaces": written.rows, "failed": written.failed}
    return Answer(arguments.out, content, 1 if written.failed else 0)
