"""Options on how files are read, shared by the commands that read them."""

from __future__ import annotations

import argparse
from typing import Any


def add_volume_options(parser: argparse.ArgumentParser, labels: bool = True) -> None:
    """Options of `i2net_bundle.io.options.VolumeOptions`; without ``labels`` those that images alone have."""
    group = parser.add_argument_group("volumes that leave a choice")
    group.add_argument("--header", choices=["sform", "qform"], help="which to believe where the two disagree")
    if labels:
        group.add_argument(
            "--geometry", choices=["image", "label"], help="whose header holds for both where image and label disagree"
        )
    group.add_argument("--volume", type=int, metavar="N", help="volume to take from 4D files, from 0")
    group.add_argument("--fill-nonfinite", type=float, metavar="HU", help="value for NaN and infinite voxels")
    group.add_argument("--hu-offset", type=float, default=0.0, metavar="HU", help="add to every voxel of a CT")
    group.add_argument("--any-intensities", action="store_true", help="accept a CT whose values do not look like HU")


def add_label_option(parser: argparse.ArgumentParser) -> None:
    """Label table of the classes, and channels where no data list names them."""
    parser.add_argument(
        "--labels",
        metavar="FILE|TABLE",
        help="label table with colours, codes and volumes of the classes: a JSON file, or synapse, glas or cityscapes; "
        "also names the labels where the data list does not",
    )


def add_channel_option(parser: argparse.ArgumentParser) -> None:
    """Names of the channels, where no data list names them."""
    parser.add_argument(
        "--channels",
        metavar="NAME[,NAME...]",
        help="channels of volumes, such as T2,ADC, where no data list names them (default CT)",
    )


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
            "--label-values",
            choices=["instances", "binary", "classes"],
            help="what masks hold (default: as the data list declares, else class ids)",
        )


def volume_options(arguments: argparse.Namespace) -> Any:
    """The `VolumeOptions` of the arguments."""
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
    """The `HistologyOptions` of the arguments."""
    from i2net_bundle.io.options import HistologyOptions

    return HistologyOptions(um_per_px=arguments.um_per_px, label_values=arguments.label_values)
