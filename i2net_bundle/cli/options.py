"""Options for reading files, shared by several commands."""

from __future__ import annotations

import argparse
from typing import Any


def count(text: str) -> int:
    """Read a whole number from 1, for ``type`` of an option."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1")
    return number


def add_volume_options(parser: argparse.ArgumentParser, labels: bool = True) -> None:
    """Add the options of `i2net_bundle.io.options.VolumeOptions`; without ``labels``, only those for images."""
    group = parser.add_argument_group("ambiguous volumes")
    group.add_argument("--header", choices=["sform", "qform"], help="orientation to use if the two disagree")
    if labels:
        group.add_argument(
            "--geometry", choices=["image", "label"], help="header to use for both if image and label disagree"
        )
    group.add_argument("--volume", type=int, metavar="N", help="volume of a 4D file, from 0")
    group.add_argument("--fill-nonfinite", type=float, metavar="HU", help="value for NaN and infinite voxels")
    group.add_argument("--hu-offset", type=float, default=0.0, metavar="HU", help="value to add to every voxel of a CT")
    group.add_argument("--any-intensities", action="store_true", help="accept a CT whose values do not look like HU")


def add_label_option(parser: argparse.ArgumentParser) -> None:
    """Add the label table of the classes."""
    parser.add_argument(
        "--labels",
        metavar="FILE|TABLE",
        help="label table with colours, codes and volumes of the classes: a JSON file, or synapse, glas or cityscapes; "
        "also names the classes if the data list does not",
    )


def add_channel_option(parser: argparse.ArgumentParser) -> None:
    """Add the names of the channels."""
    parser.add_argument(
        "--channels",
        metavar="NAME[,NAME...]",
        help="channels of volumes, such as T2,ADC, if no data list names them (default CT)",
    )


def add_series_option(parser: argparse.ArgumentParser) -> None:
    """Add the series of a DICOM folder."""
    parser.add_argument(
        "--series",
        metavar="NUMBER|UID",
        help="series of a DICOM folder with several, as `i2net series` lists them",
    )


def add_column_option(parser: argparse.ArgumentParser) -> None:
    """Add the column of lists of images."""
    parser.add_argument(
        "--column", metavar="NAME", help="column of CSV lists, or key in JSON lists, with the images (default image)"
    )


def add_histology_options(parser: argparse.ArgumentParser, labels: bool = True) -> None:
    """Add the options of `i2net_bundle.io.options.HistologyOptions`; without ``labels``, only those for images."""
    group = parser.add_argument_group("histology files")
    group.add_argument("--um-per-px", type=float, metavar="UM", help="micrometres per pixel, instead of the files' own")
    if labels:
        group.add_argument(
            "--label-values",
            choices=["instances", "binary", "classes"],
            help="meaning of mask values (default: as the data list declares, else class ids)",
        )


def volume_options(arguments: argparse.Namespace) -> Any:
    """Return the `VolumeOptions` of the arguments."""
    from i2net_bundle.io.channels import CT
    from i2net_bundle.io.options import VolumeOptions

    return VolumeOptions(
        header=arguments.header,
        volume=arguments.volume,
        geometry=arguments.geometry,
        fill_nonfinite=arguments.fill_nonfinite,
        hu_offset=arguments.hu_offset,
        any_intensities=arguments.any_intensities,
        channels=tuple(channels.split(",")) if (channels := getattr(arguments, "channels", None)) else CT,
    )


def histology_options(arguments: argparse.Namespace) -> Any:
    """Return the `HistologyOptions` of the arguments."""
    from i2net_bundle.io.options import HistologyOptions

    return HistologyOptions(um_per_px=arguments.um_per_px, label_values=arguments.label_values)
