"""Report of a run on one page: scores, failures, calibration, training curves and settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader
from tqdm import tqdm

import i2net_bundle
from i2net_bundle.figures.style import Picture, report_style
from i2net_bundle.io.counted import counted
from i2net_bundle.io.writing import staged_folder
from i2net_bundle.metrics.mask_pair import INVENTED, MISSED
from i2net_bundle.metrics.registry import PROTOCOLS
from i2net_bundle.metrics.uncertainty import FEWEST
from i2net_bundle.reports.curves import training_pictures
from i2net_bundle.reports.embedding import as_webp, webp_url
from i2net_bundle.reports.gallery import draw_case
from i2net_bundle.reports.phantom_notice import phantom_notice
from i2net_bundle.reports.run_results import RunResults, read_run
from i2net_bundle.reports.score_figures import bland_altman, box_plots, reliability_diagram
from i2net_bundle.reports.score_tables import Table, calibration_table, case_table, iou_table, object_table, score_table
from i2net_bundle.reports.views import load_views

PAGE_NAME, FIGURES_NAME = "index.html", "figures"
_DPI = 110

_EVALUATE = (
    "python -m monai.bundle run evaluating --config_file configs/evaluate.json --dataset_dir DATA --output_dir RUN "
    "--overwrite true"
)
_TRAIN = "python -m monai.bundle run training --config_file configs/train.json --dataset_dir DATA --output_dir RUN"


@dataclass
class Section:
    """A section of the page.

    Attributes:
        id: id of its heading.
        title: heading.
        text: paragraphs below the heading, one per line.
        pictures: figures, or functions that draw them one at a time while the page is written.
        tables: tables below the text.
        folded: tables shown on a click.
        missing: what the run lacks for this section.
        command: command that creates what is missing.
    """

    id: str
    title: str
    text: str = ""
    pictures: Sequence[Picture | Callable[[], Picture | None]] = ()
    tables: Sequence[Table] = ()
    folded: Sequence[Table] = ()
    missing: str = ""
    command: str = ""


def write_report(run: str | Path, out_dir: str | Path | None = None, max_cases: int = 20) -> Path:
    """Write the report of a run: a self-contained ``index.html``, and its figures as PNG.

    Args:
        run: folder of a run, or of an evaluation.
        out_dir: folder to write; must be missing or empty; default is ``report`` in the run's folder.
        max_cases: number of cases in the gallery, worst first.

    Returns:
        path of the page. The page says what the run lacks, and which command creates it.

    Raises:
        FileExistsError: ``out_dir`` is not empty.
        FileNotFoundError: the folder contains no run.
        ValueError: a file of the run cannot be read; the message names it.
    """
    results = read_run(run)
    out_dir = Path(run) / "report" if out_dir is None else Path(out_dir)
    with staged_folder(out_dir) as target, report_style():
        (target / FIGURES_NAME).mkdir()
        sections = report_sections(results, max_cases)
        count = sum(len(section.pictures) for section in sections)
        with tqdm(total=count, desc="drawing figures", unit="figure", disable=None) as progress:
            drawn = {section.id: list(_embedded(section, target / FIGURES_NAME, progress)) for section in sections}
        environment = Environment(loader=PackageLoader("i2net_bundle.reports"), autoescape=True)
        page = environment.get_template("report.html.j2").render(
            name=results.name,
            facts=_facts(results),
            notice=phantom_notice(results.trained_on, results.data_set),
            sections=sections,
            figures=drawn,
            version=i2net_bundle.__version__,
        )
        (target / PAGE_NAME).write_text(page, encoding="utf-8")
    return out_dir / PAGE_NAME


def report_sections(results: RunResults, max_cases: int = 20) -> list[Section]:
    """Sections of the page; a section without data says what is missing and which command creates it.

    Args:
        results: results of the run.
        max_cases: number of cases in the gallery.
    """
    return [
        _scores(results),
        _agreement(results),
        _gallery(results, max_cases),
        _calibration(results),
        _training(results),
        _environment(results),
    ]


def _embedded(section: Section, folder: Path, progress: Any) -> Iterator[dict[str, str]]:
    for draw in section.pictures:
        picture = draw if isinstance(draw, Picture) else draw()
        progress.update()
        if picture is None:
            continue
        path = folder / f"{picture.name}.png"
        picture.figure.savefig(path, dpi=_DPI)
        width, height = (round(inches * _DPI) for inches in picture.figure.get_size_inches())
        yield {
            "name": picture.name,
            "data": webp_url(as_webp(path)),
            "alt": picture.alt,
            "caption": picture.caption,
            "width": str(width),
            "height": str(height),
        }


def _facts(results: RunResults) -> str:
    facts = []
    target = _settings(results, "network").get("target")
    if target:
        facts.append(f"network {str(target).rpartition('.')[2]}")
    if results.training:
        on = f" on {results.trained_on}" if results.trained_on else ""
        facts.append(f"trained{on} for {counted(int(results.training['epoch'][-1]), 'epoch')}")
    if results.scores is not None:
        of = f" of {results.data_set}" if results.data_set else ""
        facts.append(f"evaluated on {counted(len(results.scores.cases), 'case')}{of}")
    return ", ".join(facts)


def _scores(results: RunResults) -> Section:
    scores = results.scores
    if scores is None:
        return Section("scores", "Scores", missing="The run has not been evaluated.", command=_EVALUATE)
    rules = [
        f"{name.capitalize()}: {PROTOCOLS[name].rule}" for name in dict.fromkeys(m.protocol for m in scores.metrics)
    ]
    resampled = "patients" if scores.patients() else "cases"
    objects, iou = object_table(scores), (results.summary or {}).get("iou")
    return Section(
        "scores",
        "Scores",
        "\n".join(
            [
                f"Mean and 95 % bootstrap confidence interval of the mean, resampling {resampled}. Means of fewer than "
                f"{FEWEST} {resampled} have no interval.",
                *rules,
                "Judge a network by strict scores; use transunet scores to compare with published tables.",
            ]
        ),
        pictures=[partial(box_plots, scores)],
        tables=[score_table(scores), *([objects] if objects else [])],
        folded=[*([iou_table(iou)] if iou else []), case_table(scores)],
    )


def _agreement(results: RunResults) -> Section:
    section = Section("agreement", "Volumes and areas")
    scores = results.scores
    if scores is None:
        section.missing, section.command = "Agreement needs an evaluation.", _EVALUATE
    elif not {"pred_ml", "pred_voxels"} & set(scores.columns):
        section.missing, section.command = f"{scores.path.name} contains no volumes.", _EVALUATE
    else:
        section.pictures = [partial(bland_altman, scores)]
    return section


def _gallery(results: RunResults, max_cases: int) -> Section:
    section = Section("gallery", "Where it fails")
    if not results.views:
        section.missing = (
            "There are no views of the cases (evaluation/views). Evaluating with the network writes them; scoring "
            "masks does not."
        )
        section.command = _EVALUATE
        return section
    ordered = _worst_first(results)
    shown = ordered[:max_cases]
    gates = "; below them, the gate of every learner and the gate entropy" if _has_gates(results) else ""
    section.text = (
        f"{len(shown)} of {counted(len(ordered), 'case')}, lowest mean Dice first: image, truth, prediction and errors "
        f"at the network's input size{gates}. False positives are red, false negatives blue, wrong classes lime. "
        "A volume is shown by the slice with the most classes and the slice with the most errors."
    )
    names = ["background", *(results.scores.classes if results.scores else _class_names(results))]
    section.pictures = [
        partial(_case_picture, number, results.views[case], names, title)
        for number, (case, title) in enumerate(shown, 1)
    ]
    return section


def _has_gates(results: RunResults) -> bool:
    return len(load_views(next(iter(results.views.values())))[0].gates) > 0


def _case_picture(number: int, path: Path, names: Sequence[str], title: str) -> Picture:
    views = load_views(path)
    highest = int(max(max(view.truth.max(), view.prediction.max()) for view in views))
    names = [*names, *(f"class {index}" for index in range(len(names), highest + 1))]
    learners = len(views[0].gates)
    gates = f"; gates of {learners} learners and their entropy" if learners else ""
    return Picture(
        f"case_{number:03d}",
        draw_case(views, names, title),
        f"{title}. Image, truth, prediction and errors{gates}.",
        "",
    )


def _worst_first(results: RunResults) -> list[tuple[str, str]]:
    """Cases with views, lowest mean Dice first, each with the title of its figure."""
    scores = results.scores
    if scores is None:
        return [(case, case) for case in results.views]
    dice = dict(zip(scores.cases, scores.case_values(scores.main_metric.name), strict=True))
    statuses = dict(zip(scores.cases, scores.statuses(), strict=True))
    cases = sorted(results.views, key=lambda case: (np.isnan(dice.get(case, np.nan)), dice.get(case, 0), case))
    titles = []
    for case in cases:
        parts = [case, f"mean Dice {dice[case]:.3f}" if np.isfinite(dice.get(case, np.nan)) else "without a score"]
        for status in (MISSED, INVENTED):
            hit = [n for n, s in zip(scores.classes, statuses.get(case, []), strict=False) if s == status]
            parts += [f"{status}: {', '.join(hit)}"] if hit else []
        titles.append("    ".join(parts))
    return list(zip(cases, titles, strict=True))


def _settings(results: RunResults, part: str) -> Mapping[str, Any]:
    found = (results.settings or {}).get(part)
    return found if isinstance(found, Mapping) else {}


def _class_names(results: RunResults) -> list[str]:
    """Recorded names of the classes without the background; records of version 0.1 keep them under "network"."""
    classes = (results.settings or {}).get("classes") or _settings(results, "network").get("class_names") or []
    return [_named(item) for item in classes][1:]


def _calibration(results: RunResults) -> Section:
    section = Section("calibration", "Calibration")
    if results.calibration is None:
        section.missing = "There is no evaluation/calibration.json. Evaluating with the network writes it."
        section.command = _EVALUATE
        return section
    calibration: Mapping[str, Any] = results.calibration
    section.pictures = [partial(reliability_diagram, calibration)]
    section.tables = [calibration_table(calibration)]
    return section


def _training(results: RunResults) -> Section:
    section = Section("training", "Training")
    if not results.training or not len(results.training.get("epoch", ())):
        section.missing = "There is no training.csv: this is an evaluation only, or training has not started."
        section.command = _TRAIN
        return section
    section.pictures = training_pictures(results.training)
    return section


def _environment(results: RunResults) -> Section:
    section = Section("environment", "Environment and settings")
    summary = results.summary or {}
    rows = [[f"evaluated with {name}", str(value)] for name, value in summary.get("versions", {}).items()]
    weights = summary.get("weights")
    if isinstance(weights, Mapping):
        rows += [["weights", str(weights.get("file", ""))], ["SHA-256 of the weights", str(weights.get("sha256", ""))]]
    rows.append(["report written by i2net_bundle", i2net_bundle.__version__])
    tables = [Table("Environment", ["item", "value"], rows)]
    settings = list(_flat(results.settings or {}))
    if settings:
        tables.append(Table("Training settings", ["setting", "value"], settings))
    else:
        section.missing = "There is no settings.json. Training writes it."
        section.command = _TRAIN
    section.tables = tables
    return section


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[list[str]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}: ")
        else:
            yield [f"{prefix}{name}", ", ".join(map(_named, value)) if isinstance(value, list) else str(value)]


def _named(item: Any) -> str:
    """Text of an item of a list: its name, if it has one."""
    return str(item["name"]) if isinstance(item, Mapping) and "name" in item else str(item)
