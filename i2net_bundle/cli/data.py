"""Commands that prepare, check and preview data sets, and that list DICOM series."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from i2net_bundle.cli.answers import Answer
from i2net_bundle.cli.options import (
    add_channel_option,
    add_histology_options,
    add_label_option,
    add_series_option,
    add_volume_options,
    histology_options,
    volume_options,
)

_DOCS = "Options: docs/data.md. Messages: docs/faults.md."

_SYNAPSE = """\
Verify abdominal CT and write it as NIfTI with the paper's eight organs.

SRC is a folder or an archive as downloaded, in one of these forms:
  raw BTCV         img/img0001.nii.gz, label/label0001.nii.gz, 13 labels
  TransUNet        train_npz/case0005_slice000.npz, test_vol_h5/case0001.npy.h5
                   (needs h5py; the spacing stays unknown, so distances are in voxels)
  Decathlon        dataset.json, whose "labels" name the organs
  nnU-Net v2       dataset.json, imagesTr/CASE_0000.nii.gz, labelsTr/CASE.nii.gz

Data sets of other organs need no preparation: check them, and train on them directly.
BTCV's cases are split as in the paper: 18 for training and 12 for testing."""

_GLAS = """\
Verify the images of the GlaS challenge and write them as PNG with data lists.

SRC is the challenge's folder or archive: train_1.bmp, train_1_anno.bmp, testA_1.bmp, ..., Grade.csv; or PNG.
  dataset.json         the official split (its parts share patients)
  patient_split.json   the training images split by patient, for --datalist patient_split.json
  fold_0.json, ...     cross-validation folds of the training images that keep patients apart"""

_CITYSCAPES = """\
Verify Cityscapes and write its 19 classes as train ids, with 255 for ignored pixels.

SRC contains leftImg8bit/ and gtFine/, or their two archives, under their standard names."""

_CHECK = """\
Check data sets (folders with dataset.json), folders of images or of a DICOM series, and single images.

Folders of the Medical Segmentation Decathlon and of nnU-Net v2 are read directly. The classes and channels that they
declare are printed. Training, evaluation and inference run the same checks on the files they load. The exit status is 1
if there are errors."""

_SERIES = """\
List the series of a DICOM folder and its subfolders: number, size, description, UID.

--series of `i2net predict` and `i2net check` takes the number or the UID. Descriptions may contain a patient's name:
only this command prints them, and it writes no file."""

_PREVIEW = """\
Draw a data set: contact sheets of slices or images with the contours of their labels, and one HTML page.

Cases with organs in an implausible position or of an implausible volume are marked."""


def add_commands(commands: Any) -> None:
    """Add ``prepare``, ``check``, ``series`` and ``preview`` to the command line's subparsers."""
    prepare = commands.add_parser("prepare", help="convert a download into a verified data set")
    kinds = prepare.add_subparsers(title="data sets", required=True, metavar="DATASET")

    synapse = _add(
        kinds, "synapse", "abdominal CT: raw BTCV, TransUNet's files, a Decathlon or nnU-Net folder", _SYNAPSE
    )
    _add_source(synapse)
    synapse.add_argument(
        "--numbering", help="numbering of the labels: btcv, transunet or btcv8 (default: the source's)"
    )
    synapse.add_argument(
        "--orientation",
        help="orientation of TransUNet's axes (slices, rows, columns), such as SLA (default: found from the organs)",
    )
    add_volume_options(synapse)
    synapse.set_defaults(run=_prepare_synapse)

    glas = _add(kinds, "glas", "the GlaS challenge's colon glands", _GLAS)
    _add_source(glas)
    glas.add_argument("--folds", type=int, default=5, help="number of cross-validation folds (default 5)")
    glas.set_defaults(run=_prepare_glas)

    cityscapes = _add(kinds, "cityscapes", "street scenes, 19 classes", _CITYSCAPES)
    _add_source(cityscapes)
    cityscapes.add_argument("--link", action="store_true", help="hard-link the images instead of copying them")
    cityscapes.set_defaults(run=_prepare_cityscapes)

    check = _add(commands, "check", "check data sets and images", _CHECK)
    check.add_argument("paths", nargs="+", metavar="DIR|FILE", help="what to check")
    check.add_argument("--datalist", default="dataset.json", help="name of the data list (default dataset.json)")
    add_series_option(check)
    add_label_option(check)
    add_channel_option(check)
    add_volume_options(check)
    add_histology_options(check)
    check.set_defaults(run=_check)

    series = _add(commands, "series", "list the series of a DICOM folder", _SERIES)
    series.add_argument("folder", metavar="FOLDER", help="folder to search, with its subfolders")
    series.set_defaults(run=_list_series)

    preview = _add(commands, "preview", "draw a data set with its labels", _PREVIEW)
    preview.add_argument("dataset_dir", metavar="DIR", help="folder of dataset.json")
    preview.add_argument("--out", metavar="DIR", help="folder to write (default DIR/preview)")
    preview.add_argument("--datalist", default="dataset.json", help="name of the data list (default dataset.json)")
    add_label_option(preview)
    add_channel_option(preview)
    add_volume_options(preview)
    add_histology_options(preview)
    preview.set_defaults(run=_preview)


def _add(commands: Any, name: str, summary: str, description: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=_DOCS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def _add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SRC", help="folder or archive (zip, tar, tar.gz) as downloaded")
    parser.add_argument("--out", metavar="DIR", required=True, help="folder to write; must be missing or empty")
    parser.add_argument(
        "--allow-missing", action="store_true", help="leave out cases that are missing or cannot be used"
    )


def _prepare_synapse(arguments: argparse.Namespace) -> Answer:
    from i2net_bundle.prepare import prepare_synapse

    return _prepared(
        prepare_synapse(
            arguments.source,
            arguments.out,
            numbering=arguments.numbering,
            options=volume_options(arguments),
            orientation=arguments.orientation,
            allow_missing=arguments.allow_missing,
        )
    )


def _prepare_glas(arguments: argparse.Namespace) -> Answer:
    from i2net_bundle.prepare import prepare_glas

    return _prepared(
        prepare_glas(arguments.source, arguments.out, num_folds=arguments.folds, allow_missing=arguments.allow_missing)
    )


def _prepare_cityscapes(arguments: argparse.Namespace) -> Answer:
    from i2net_bundle.prepare import prepare_cityscapes

    return _prepared(
        prepare_cityscapes(arguments.source, arguments.out, allow_missing=arguments.allow_missing, link=arguments.link)
    )


def _prepared(datalist: Path) -> Answer:
    text = f"{datalist}\nLook at it: i2net preview {datalist.parent}"
    failed = datalist.with_name("failed.csv")
    if failed.exists():
        text += f"\nSome files could not be used; {failed} lists them."
    content = {"datalist": str(datalist), "failed": str(failed) if failed.exists() else None}
    return Answer(text, content, int(failed.exists()))


def _check(arguments: argparse.Namespace) -> Answer:
    from i2net_bundle.checks.dataset import check_path
    from i2net_bundle.io.findings import errors

    options = replace(volume_options(arguments), series=arguments.series), histology_options(arguments)
    reports = [
        check_path(path, *options, datalist=arguments.datalist, label_table=arguments.labels)
        for path in arguments.paths
    ]
    text = "\n\n".join(report.text() for report in reports)
    return Answer(text, [report.json() for report in reports], int(any(errors(report.findings) for report in reports)))


def _list_series(arguments: argparse.Namespace) -> Answer:
    from i2net_bundle.io.dicom.series import list_series

    found = list(list_series(arguments.folder))
    lines = [
        f"{number}. {series.summary}\n   {series.description or 'no description'}\n   {series.uid}"
        for number, series in enumerate(found, 1)
    ]
    names = ("summary", "description", "uid")
    content = [
        {"number": number} | {name: getattr(item, name) for name in names} for number, item in enumerate(found, 1)
    ]
    return Answer("\n".join(lines), {"series": content})


def _preview(arguments: argparse.Namespace) -> Answer:
    from i2net_bundle.reports.preview import preview_dataset

    page = preview_dataset(
        arguments.dataset_dir,
        arguments.out,
        ct=volume_options(arguments),
        histology=histology_options(arguments),
        datalist=arguments.datalist,
        label_table=arguments.labels,
    )
    return Answer(str(page), {"page": page})
