"""The command that segments images."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

import yaml

from i2net_bundle.cli.options import add_histology_options, add_series_option, add_volume_options
from i2net_bundle.tasks import TASKS

_PREDICT = """\
Segment images, or folders of them: volumes (NIfTI, NRRD, MHA, folders of a DICOM series) or histology (PNG, BMP, TIFF,
JPEG). Task, classes, channels, sizes and network are those that the weights were trained with.

Every mask lies in its image's own grid and format. Beside the masks: statistics.json and .csv, pictures, for histology
polygons for QuPath (.geojson), and prediction.json, the record of weights, settings and versions. Images that cannot be
used are listed in failed.csv while the others are segmented; the exit status is then 1. What the checks found is kept
in data_findings.csv."""


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
    predict.add_argument(
        "--task", choices=list(TASKS), help="kind of task, for weights without settings.json beside them (default ct)"
    )
    predict.add_argument("--bundle", metavar="DIR", help="a packaged bundle, instead of the task's own configuration")
    predict.add_argument(
        "--overlay",
        metavar="FILE",
        action="append",
        default=[],
        help="configuration that the weights were trained with; for networks outside MONAI and this bundle",
    )
    predict.add_argument(
        "--labels", metavar="TABLE", help="label table, built-in or a JSON file: colours, codes, volumes"
    )
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
    """Reading options that differ from their defaults; those of the other kind of image are refused."""
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
        raise ValueError(f"{names}: for {other} only, and the task is {task.name}. Leave it out, or set --task.")
    return chosen
