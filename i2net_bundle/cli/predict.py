"""The command that segments images."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

import yaml

from i2net_bundle.cli.options import add_histology_options, add_series_option, add_volume_options

_PREDICT = """\
Segment images, or folders of them: CT volumes (NIfTI, NRRD, MHA, folders of a DICOM series) or histology (PNG, BMP,
TIFF, JPEG).

Every mask lies in its image's own grid and format. Beside the masks: statistics.json and .csv, pictures, for histology
polygons for QuPath (.geojson), and prediction.json, the record of weights, settings and versions. Images that cannot be
used are listed in failed.csv while the others are done; the exit status is then 1. What the checks found is kept in
data_findings.csv."""


def add_commands(commands: Any) -> None:
    """Add ``predict`` to the command line's subparsers."""
    predict = commands.add_parser(
        "predict",
        help="segment images",
        description=_PREDICT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    predict.add_argument("inputs", nargs="+", metavar="INPUT", help="images, or folders of images or of a DICOM series")
    predict.add_argument("-o", "--out", required=True, metavar="DIR", help="folder to write")
    predict.add_argument("--overwrite", action="store_true", help="replace results that are there")
    predict.add_argument("--task", choices=["synapse", "glas"], default="synapse", help="CT (default) or histology")
    predict.add_argument("--bundle", metavar="DIR", help="a bundle folder, instead of the task's own configuration")
    predict.add_argument(
        "--weights", nargs="+", metavar="FILE", help="weights; several are averaged (default: models/model.pt)"
    )
    predict.add_argument(
        "--flips", action="store_true", help="average over the image's flips: four times the work; for histology"
    )
    predict.add_argument("--uncertainty", action="store_true", help="write entropy, and variance over flips or weights")
    predict.add_argument("--probabilities", action="store_true", help="write every class's probability")
    predict.add_argument("--no-pictures", action="store_true", help="draw no pictures")
    predict.add_argument("--device", help="such as cpu or cuda:1 (default: a GPU where there is one)")
    add_series_option(predict)
    predict.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="ID=VALUE",
        help="change an id of the configuration, such as image_size=[512,512]; may be repeated",
    )
    predict.add_argument("--resample", action="store_true", help="resize histology to the scale of training")
    add_volume_options(predict, labels=False)
    add_histology_options(predict, labels=False)
    predict.set_defaults(run=_predict)


def _predict(arguments: argparse.Namespace) -> int:
    from i2net_bundle.prediction.cohort import FAILED, predict_files
    from i2net_bundle.prediction.predictor import Predictor
    from i2net_bundle.workflow.run_folders import check_results_dir

    check_results_dir(arguments.out, arguments.overwrite)
    predictor = Predictor(
        arguments.task,
        arguments.weights,
        bundle=arguments.bundle,
        overrides=dict(_setting(text) for text in arguments.set),
        reading=_reading(arguments),
        device=arguments.device,
        flips=arguments.flips,
        uncertainty=arguments.uncertainty,
        probabilities=arguments.probabilities,
    )
    failed = predict_files(arguments.inputs, arguments.out, predictor, not arguments.no_pictures, arguments.overwrite)
    print(arguments.out)
    if failed:
        print(f"{len(failed)} of the images could not be used; {arguments.out}/{FAILED} says why.")
    return int(bool(failed))


def _setting(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    if not separator:
        raise ValueError(f"--set takes ID=VALUE, got '{text}'.")
    return name, yaml.safe_load(value)


def _reading(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the command line says of the files, other than the defaults; nothing may be said of the other kind's."""
    from i2net_bundle.io.options import HistologyOptions, VolumeOptions

    kinds = (HistologyOptions, VolumeOptions) if arguments.task == "glas" else (VolumeOptions, HistologyOptions)
    chosen, foreign = (
        {
            field.name: getattr(arguments, field.name)
            for field in dataclasses.fields(kind)
            if getattr(arguments, field.name, field.default) != field.default
        }
        for kind in kinds
    )
    if foreign:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in foreign)
        other = "CT" if arguments.task == "glas" else "histology"
        raise ValueError(
            f"{names}: said of {other} alone, and the task is {arguments.task}. Leave it out, or set --task."
        )
    return chosen
