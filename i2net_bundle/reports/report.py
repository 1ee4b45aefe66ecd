"""One page about a run: how it was trained, how it scores, where it fails, and what its learners do."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader
from PIL import Image
from tqdm import tqdm

import i2net_bundle
from i2net_bundle.figures.style import Picture, report_style
from i2net_bundle.io.writing import staged_folder
from i2net_bundle.metrics.protocols import INVENTED, MISSED
from i2net_bundle.reports.curves import training_pictures
from i2net_bundle.reports.gallery import draw_case
from i2net_bundle.reports.run_results import RunResults, read_run
from i2net_bundle.reports.score_figures import bland_altman, box_plots, reliability_diagram
from i2net_bundle.reports.score_tables import Table, calibration_table, case_table, object_table, score_table
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
    """A part of the page.

    Attributes:
        id: of its heading.
        title: its heading.
        text: below the heading.
        pictures: saved and embedded one by one, and drawn only then where there are many.
        tables: below the text.
        missing: what is not there; ``command`` then says what makes it.
        command: see there.
        folded: tables are shown on a click.
    """

    id: str
    title: str
    text: str = ""
    pictures: Sequence[Picture | Callable[[], Picture | None]] = ()
    tables: Sequence[Table] = ()
    missing: str = ""
    command: str = ""
    folded: Sequence[Table] = field(default_factory=list)


def write_report(run: str | Path, out_dir: str | Path | None = None, max_cases: int = 20) -> Path:
    """Write the report of a run: ``index.html``, which needs nothing beside it, and its figures as PNG.

    Args:
        run: the run's folder, or that of an evaluation alone.
        out_dir: folder to write, absent or empty; default ``report`` in the run's folder.
        max_cases: how many cases the gallery shows, the worst first.

    Returns:
        path of the page. What is not there is named on it, with the command that makes it.

    Raises:
        FileExistsError: ``out_dir`` holds something.
        FileNotFoundError: the folder holds no run.
        ValueError: one of the run's files cannot be read; names it.
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
            sections=sections,
            figures=drawn,
            version=i2net_bundle.__version__,
        )
        (target / PAGE_NAME).write_text(page, encoding="utf-8")
    return out_dir / PAGE_NAME


def report_sections(results: RunResults, max_cases: int = 20) -> list[Section]:
    """The page's parts; those that the run's folder does not allow say what is missing and what makes it.

    Args:
        results: what was found of the run.
        max_cases: see `write_report`.
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
        data = base64.b64encode(_as_webp(path)).decode("ascii")
        width, height = (round(inches * _DPI) for inches in picture.figure.get_size_inches())
        yield {
            "name": picture.name,
            "data": f"data:image/webp;base64,{data}",
            "alt": picture.alt,
            "caption": picture.caption,
            "width": str(width),
            "height": str(height),
        }


def _as_webp(path: Path) -> bytes:
    """A figure for the page, whose size would otherwise be some MB per photograph."""
    stream = io.BytesIO()
    with Image.open(path) as image:
        image.convert("RGB").save(stream, "WEBP", quality=90, method=4)
    return stream.getvalue()


def _facts(results: RunResults) -> str:
    facts = []
    if results.training:
        facts.append(f"trained for {int(results.training['epoch'][-1])} epochs")
    if results.scores is not None:
        facts.append(f"evaluated on {len(results.scores.cases)} cases")
    return ", ".join(facts)


def _scores(results: RunResults) -> Section:
    section = Section("scores", "Scores")
    if results.scores is None:
        section.missing, section.command = "The run has not been evaluated.", _EVALUATE
        return section
    scores = results.scores
    resampled = "patients" if scores.patients() else "cases"
    section.text = (
        f"Mean and 95 % bootstrap confidence interval of the mean, which resamples {resampled}. Strict: MONAI's Dice "
        f"and HD95 in {scores.unit}; a missed or invented class scores Dice 0 and the volume's diagonal, one that is "
        "absent from truth and prediction counts nowhere. Transunet: the rules of TransUNet and the papers that follow "
        "it, HD95 of both directions pooled, in voxels or pixels; a missed class scores (0, 0), an invented (1, 0), "
        "an absent (0, 0). Compare with published tables by transunet, judge by strict."
    )
    objects = object_table(scores)
    section.tables = [score_table(scores), *([objects] if objects else [])]
    section.folded = [case_table(scores)]
    section.pictures = [partial(box_plots, scores)]
    return section


def _agreement(results: RunResults) -> Section:
    section = Section("agreement", "Volumes and areas")
    if results.scores is None:
        section.missing, section.command = "Agreement needs an evaluation.", _EVALUATE
        return section
    scores = results.scores
    if not {"pred_ml", "pred_px", "pred_voxels"} & set(scores.columns):
        section.missing = f"{scores.path.name} holds no volumes."
        section.command = _EVALUATE
    section.pictures = [partial(bland_altman, scores)]
    return section


def _gallery(results: RunResults, max_cases: int) -> Section:
    section = Section("gallery", "Where it fails")
    if not results.views:
        section.missing = (
            "There are no views of the cases (evaluation/views). Evaluation with the network keeps them; scoring masks "
            "alone does not."
        )
        section.command = _EVALUATE
        return section
    ordered = _worst_first(results)
    shown = ordered[:max_cases]
    section.text = (
        f"{len(shown)} of {len(ordered)} cases, the worst mean Dice first: image, truth, prediction and errors at the "
        "size that the network sees; below them, for a network with gates, the gate of every learner and the gates' "
        "entropy. False positives are "
        "red, false negatives blue, a wrong class amber. Of a volume, the slice with most classes and the one with "
        "most errors."
    )
    names = ["background", *(results.scores.classes if results.scores else _classes_of(results))]
    section.pictures = [
        partial(_case_picture, number, results.views[case], names, title)
        for number, (case, title) in enumerate(shown, 1)
    ]
    return section


def _case_picture(number: int, path: Path, names: Sequence[str], title: str) -> Picture:
    views = load_views(path)
    highest = int(max(max(view.truth.max(), view.prediction.max()) for view in views))
    names = [*names, *(f"class {index}" for index in range(len(names), highest + 1))]
    learners = len(views[0].gates)
    gates = f", gates of {learners} learners and their entropy" if learners else ""
    return Picture(
        f"case_{number:03d}",
        draw_case(views, names, title),
        f"{title}. Image, truth, prediction and errors{gates}.",
        "",
    )


def _worst_first(results: RunResults) -> list[tuple[str, str]]:
    """Cases with views, the lowest mean Dice first, and what to write above them."""
    scores = results.scores
    if scores is None:
        return [(case, case) for case in results.views]
    metric = "strict_dice" if "strict_dice" in scores.columns else "transunet_dice"
    dice = dict(zip(scores.cases, scores.case_values(metric), strict=True))
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


def _classes_of(results: RunResults) -> list[str]:
    network = (results.settings or {}).get("network", {})
    return list(network.get("class_names", ["background"]))[1:]


def _calibration(results: RunResults) -> Section:
    section = Section("calibration", "Calibration")
    if results.calibration is None:
        section.missing = "There is no evaluation/calibration.json. Evaluation with the network writes it."
        section.command = _EVALUATE
        return section
    calibration: Mapping[str, Any] = results.calibration
    section.pictures = [partial(reliability_diagram, calibration)]
    section.tables = [calibration_table(calibration)]
    return section


def _training(results: RunResults) -> Section:
    section = Section("training", "Training")
    if not results.training or not len(results.training.get("epoch", ())):
        section.missing = "There is no training.csv here: this is an evaluation alone, or training has not begun."
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
    rows.append(["report made with i2net_bundle", i2net_bundle.__version__])
    tables = [Table("Environment", ["what", "value"], rows)]
    settings = list(_flat(results.settings or {}))
    if settings:
        tables.append(Table("Settings of the training", ["setting", "value"], settings))
    else:
        section.missing = "There is no settings.json here; training writes it."
        section.command = _TRAIN
    section.tables = tables
    return section


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[list[str]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}: ")
        else:
            yield [f"{prefix}{name}", ", ".join(map(str, value)) if isinstance(value, list) else str(value)]
