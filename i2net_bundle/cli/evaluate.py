"""The command that scores masks from any source."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from i2net_bundle.cli.answers import Answer
from i2net_bundle.cli.options import (
    add_histology_options,
    add_label_option,
    add_volume_options,
    histology_options,
    volume_options,
)

_EVALUATE = """\
Score a folder of predicted masks against their labels by two protocols; every score names its protocol.

  strict     MONAI's Dice and HD95 in mm, surface Dice at 2 mm; a missed or invented organ scores 0 and the diagonal
  transunet  the rules of the published Synapse tables: pooled HD95 in voxels, a missed organ scores (0, 0)

Glands are also scored as objects (F1, object Dice, object Hausdorff distance). Writes metrics.csv and summary.json.

With --conventions, the same masks are scored under every convention of HD95 found in public code, at three image sizes,
in pixels and in µm or mm. conventions.csv and conventions.md show which of them could give a published figure."""


def add_commands(commands: Any) -> None:
    """Add ``evaluate`` to the command line's subparsers."""
    evaluate = commands.add_parser(
        "evaluate",
        help="score predicted masks against labels",
        description=_EVALUATE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    evaluate.add_argument("pred_dir", metavar="PRED_DIR", help="folder of predicted masks")
    evaluate.add_argument("label_dir", metavar="LABEL_DIR", help="folder of a data list, or of label files")
    evaluate.add_argument("-o", "--out", metavar="DIR", help="folder to write (default PRED_DIR_scores)")
    evaluate.add_argument("--overwrite", action="store_true", help="replace existing results")
    evaluate.add_argument("--datalist", default="dataset.json", help="name of the data list (default dataset.json)")
    evaluate.add_argument("--split", default="test", help="list of cases in it (default test)")
    add_label_option(evaluate)
    evaluate.add_argument("--allow-missing", action="store_true", help="leave out files without a partner")
    evaluate.add_argument("--workers", type=int, default=0, metavar="N", help="number of scoring processes (default 0)")
    evaluate.add_argument("--scheduler", metavar="ADDRESS", help="Dask scheduler whose workers score the masks")
    evaluate.add_argument(
        "--conventions", action="store_true", help="also score under every convention of HD95 in public code"
    )
    add_volume_options(evaluate)
    add_histology_options(evaluate)
    evaluate.set_defaults(run=_evaluate)


def _evaluate(arguments: argparse.Namespace) -> Answer:
    from i2net_bundle.evaluation.convention_tables import MARKDOWN_NAME
    from i2net_bundle.evaluation.folders import FAILED, evaluate_folders
    from i2net_bundle.evaluation.summary import table
    from i2net_bundle.workflow.run_folders import check_results_dir

    pred_dir = Path(arguments.pred_dir)
    out = Path(arguments.out) if arguments.out else pred_dir.with_name(f"{pred_dir.resolve().name}_scores")
    check_results_dir(out, arguments.overwrite)
    summary = evaluate_folders(
        pred_dir,
        arguments.label_dir,
        out,
        label_table=arguments.labels,
        datalist=arguments.datalist,
        split=arguments.split,
        ct=volume_options(arguments),
        histology=histology_options(arguments),
        allow_missing=arguments.allow_missing,
        num_workers=arguments.workers,
        conventions=arguments.conventions,
        scheduler=arguments.scheduler,
    )
    lines = [table(summary)]
    if arguments.conventions:
        lines.append(f"\n{(out / MARKDOWN_NAME).read_text(encoding='utf-8')}")
    lines.append(str(out))
    failed = (out / FAILED).exists()
    if failed:
        lines.append(f"Some masks could not be scored; {out / FAILED} lists them.")
    content = {"out": out, "summary": summary, "failed": out / FAILED if failed else None}
    return Answer("\n".join(lines), content, int(failed))
