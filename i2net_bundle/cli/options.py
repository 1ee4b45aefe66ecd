"""Options on how files are read, shared by the commands that read them."""

from __future__ import annotations

import argparse
from typing import Any


def add_ct_options(parser: argparse.ArgumentParser, labels: bool = True) -> None:
    """Options of `i2net_bundle.io.options.VolumeOptions`; without ``labels`` those that images alone have."""
    group = parser.add_argument_group("CT files that leave a choice")
    group.add_argument("--header", choices=["sform", "qform"], help="which to believe where the two disagree")
    if labels:
        group.add_argument(
            "--geometry", choices=["image", "label"], help="whose header holds for both where image and label disagree"
        )
    group.add_argument("--volume", type=int, metavar="N", help="volume to take from 4D files, from 0")
    group.add_argument("--fill-nonfinite", type=float, metavar="HU", help="fill NaN and infinite voxels")
    group.add_argument("--hu-offset", type=float, default=0.0, metavar="HU", help="add to every voxel")
    group.add_argument("--any-intensities", action="store_true", help="accept values that do not look like HU")


def add_series_option(parser: argparse.ArgumentParser) -> None:
    """Which series of a DICOM folder to take."""
    parser.add_argument(
        "--series",
        metavar="NUMBER|UID",
        help="which series of a DICOM folder that holds several, as `i2net series` numbers them",
    )


def add_histology_options(parser: argparse.ArgumentParser, labels: bool = True) -> None:
    """Options of `i2net_bundle.io.options.HistologyOptions`; without ``labels`` those that images alone have."""
    group = parser.add_argument_group("histology files")
    group.add_argument("--um-per-px", type=float, metavar="UM", help="micrometres per pixel, instead of the files' own")
    if labels:
        group.add_argument(
            "--label-values", choices=["instances", "binary"], default="instances", help="what masks hold"
        )


def ct_options(arguments: argparse.Namespace) -> Any:
    """The `VolumeOptions` that the arguments say."""
    from i2net_bundle.io.options import VolumeOptions

    return VolumeOptions(
        header=arguments.header,
        volume=arguments.volume,
        geometry=arguments.geometry,
        fill_nonfinite=arguments.fill_nonfinite,
        hu_offset=arguments.hu_offset,
        any_intensities=arguments.any_intensities,
    )


def histology_options(arguments: argparse.Namespace) -> Any:
    """The `HistologyOptions` that the arguments say."""
    from i2net_bundle.io.options import HistologyOptions

    return HistologyOptions(um_per_px=arguments.um_per_px, label_values=arguments.label_values)
