"""The command that segments images."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

import yaml

from i2net_bundle.cli.options import add_histology_options, add_series_option, add_volume_options
from i2net_bundle.io.counted import counted
from i2net_bundle.tasks import TASKS

_PREDICT = """\
Segment images, or folders of images: volumes (NIfTI, NRRD, MHA, folders of a DICOM series) or histology (PNG, BMP,
TIFF, JPEG). Task, classes, channels, sizes and network come from the record of the weights.

Each mask has its image's grid and format. Beside the masks are statistics.json and .csv, pictures, outlines for QuPath
(.geojson, histology only) and prediction.json, the record of weights, settings, versions and the status of each image:
ok, warning or failed. Warnings include predicted organs with implausible volumes or positions; data_findings.csv lists
them. failed.csv lists images that could not be used; the others are segmented, and the exit status is 1.

SIGTERM and Ctrl-C stop after the current image, with exit status 143 and 130. --continue segments the images that are
left. --page adds one HTML page with a viewer of all images and masks, see `i2net view`."""


def add_commands(commands: Any) -> None:
    """Add ``predict`` to the subparsers of the command line."""
    predict = commands.add_parser(
        "predict",
        help="segment images",
        description=_PREDICT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    predict.add_argument("inputs", nargs="+", metavar="INPUT", help="images, or folders of images or of a DICOM series")
    predict.add_argument("-o", "--out", required=True, metavar="DIR", help="output folder")
    results = predict.add_mutually_exclusive_group()
    results.add_argument("--overwrite", action="store_true", help="replace earlier results of the same images")
    results.add_argument(
        "--continue",
        dest="resume",
        action="store_true",
        help="skip the images that are done in DIR with the same weights and options",
    )
    predict.add_argument(
        "--task", choices=list(TASKS), help="task of weights without settings.json beside them (default ct)"
    )
    predict.add_argument("--bundle", metavar="DIR", help="packaged bundle whose configuration is used")
    predict.add_argument(
        "--overlay",
        metavar="FILE",
        action="append",
        default=[],
        help="configuration that was used for training, for networks outside MONAI and this bundle",
    )
    predict.add_argument(
        "--labels", metavar="TABLE", help="label table with colours, codes and volumes: built-in, or a JSON file"
    )
    predict.add_argument(
        "--weights", nargs="+", metavar="FILE", help="weights; several are averaged (default models/model.pt)"
    )
    predict.add_argument(
        "--flips", action="store_true", help="average over the image's flips, for histology; takes four times as long"
    )
    predict.add_argument("--uncertainty", action="store_true", help="write entropy, and variance over flips or weights")
    predict.add_argument("--probabilities", action="store_true", help="write the probability of every class")
    predict.add_argument("--no-pictures", action="store_true", help="write no pictures")
    predict.add_argument("--page", action="store_true", help="also write DIR/view.html, as `i2net view` does")
    predict.add_argument("--device", help="device, such as cpu or cuda:1 (default: a GPU if there is one)")
    add_series_option(predict)
    predict.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="ID=VALUE",
        help="change an id of the configuration, such as image_size=[512,512]; may be repeated",
    )
    predict.add_argument("--resample", action="store_true", help="resize histology to the scale of the training images")
    add_volume_options(predict, labels=False)
    add_histology_options(predict, labels=False)
    predict.set_defaults(run=_predict)


def _predict(arguments: argparse.Namespace) -> int:
    from i2net_bundle.prediction.cohort import predict_files
    from i2net_bundle.prediction.cohort_record import FAILED, check_prediction_dir
    from i2net_bundle.prediction.predictor import Predictor

    check_prediction_dir(arguments.out, arguments.overwrite, arguments.resume)
    predictor = Predictor(
        arguments.weights,
        arguments.task,
        bundle=arguments.bundle,
        overlays=arguments.overlay,
        label_table=arguments.labels,
        overrides=dict(_setting(text) for text in arguments.set),
        reading=_reading(arguments),
        device=arguments.device,
        flips=arguments.flips,
        uncertainty=arguments.uncertainty,
        probabilities=arguments.probabilities,
    )
    failed = predict_files(
        arguments.inputs,
        arguments.out,
        predictor,
        pictures=not arguments.no_pictures,
        overwrite=arguments.overwrite,
        resume=arguments.resume,
    )
    print(arguments.out)
    if arguments.page:
        _write_page(arguments)
    if failed:
        print(f"Failed: {counted(len(failed), 'image')}. {arguments.out}/{FAILED} lists the reasons.")
    return int(bool(failed))


def _write_page(arguments: argparse.Namespace) -> None:
    from i2net_bundle.reports.viewer.view_page import write_view

    print(write_view(arguments.out, inputs=arguments.inputs, overwrite=True, series=arguments.series))


def _setting(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    if not separator:
        raise ValueError(f"--set takes ID=VALUE, got '{text}'.")
    return name, yaml.safe_load(value)


def _reading(arguments: argparse.Namespace) -> dict[str, Any]:
    """Reading options that differ from their defaults; options of the other kind of image are refused."""
    from i2net_bundle.io.options import HistologyOptions, VolumeOptions
    from i2net_bundle.prediction.trained_network import default_weights, task_of_weights

    weights = arguments.weights[0] if arguments.weights else default_weights(arguments.bundle)
    task = TASKS[task_of_weights(weights, arguments.task)]
    kinds = (VolumeOptions, HistologyOptions) if task.volumes else (HistologyOptions, VolumeOptions)
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
        other = "histology" if task.volumes else "volumes"
        raise ValueError(f"{names}: only for {other}, but the task is {task.name}. Leave it out, or set --task.")
    return chosen
