"""The command that runs a whole study and writes its tables."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from i2net_bundle.cli.answers import Answer
from i2net_bundle.cli.options import count

_STUDY = """\
Train and score a grid of networks, settings, seeds and folds alike, and write its tables.

FILE describes the study in YAML; configs/studies has those of the paper's tables, and one for phantoms. Each run has
its own folder in DIR/cells. Finished runs are skipped, killed ones continue from their last checkpoint, failed ones are
listed while the others go on: the same command continues a study that was stopped. DIR/tables contains the results."""


def add_commands(commands: Any) -> None:
    """Add ``study`` to the command line's subparsers."""
    study = commands.add_parser(
        "study",
        help="train and compare many runs, and write their tables",
        description=_STUDY,
        epilog="The format of FILE, and studies on clusters: docs/studies.md.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    study.add_argument("file", metavar="FILE", help="YAML file of the study")
    study.add_argument("--dataset_dir", "--dataset-dir", required=True, metavar="DIR", help="folder of the data set")
    study.add_argument("--out", required=True, metavar="DIR", help="folder of the study: new, or that of this study")
    study.add_argument("--processes", type=count, metavar="N", help="runs at a time (default one, or one per GPU)")
    study.add_argument("--threads", type=count, default=1, metavar="N", help="threads of each run (default 1)")
    study.add_argument("--gpus", type=count, metavar="N", help="GPUs to spread the runs over (default: as in FILE)")
    study.add_argument("--scheduler", metavar="ADDRESS", help="Dask scheduler whose workers run the cells")
    study.add_argument("--overlays", metavar="DIR", help="folder of your own overlays, which may run code")
    study.add_argument(
        "--set", action="append", default=[], metavar="ID=VALUE", help="setting of all runs, such as epochs=2"
    )
    study.add_argument("--tables-only", action="store_true", help="write the tables of finished runs, and run nothing")
    study.set_defaults(run=_run_study)


def _run_study(arguments: argparse.Namespace) -> Answer:
    from i2net_bundle.studies.runner import Resources
    from i2net_bundle.studies.study import TABLES_FOLDER, run_study

    finished = run_study(
        arguments.file,
        arguments.dataset_dir,
        arguments.out,
        Resources(arguments.processes or 0, arguments.threads, arguments.gpus or 0, arguments.scheduler),
        overrides=dict(map(_setting, arguments.set)),
        overlays_dir=arguments.overlays,
        run=not arguments.tables_only,
    )
    tables = Path(arguments.out) / TABLES_FOLDER
    return Answer(
        str(tables), {"tables": str(tables), "finished": finished}, int(not finished and not arguments.tables_only)
    )


def _setting(text: str) -> tuple[str, Any]:
    import yaml

    id, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--set {text}: write ID=VALUE, such as --set epochs=2.")
    try:
        return id.strip(), yaml.safe_load(value)
    except yaml.YAMLError as cause:
        raise ValueError(
            f"--set {text}: the value is not valid YAML. Write ID=VALUE, such as --set epochs=2."
        ) from cause
