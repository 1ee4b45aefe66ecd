"""Put a finished run's weights where inference looks for them, unless those that are there are better."""

from __future__ import annotations

import json
import logging
import math
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from monai.engines import Evaluator
from torch import nn

from i2net_bundle.io.writing import file_sha256, written_whole
from i2net_bundle.networks.weights import load_network
from i2net_bundle.workflow.run_folders import BEST_NAME, WEIGHTS_NAME
from i2net_bundle.workflow.run_settings import SETTINGS_NAME

logger = logging.getLogger("i2net.training")


def publish_weights(
    output_dir: str | Path, models_dir: str | Path, network: nn.Module, validator: Evaluator, trained: Any = None
) -> None:
    """Copy a run's weights to ``models/model.pt``; those that lay there are kept under a name of their own.

    Where there are validation cases, both are scored on them, and weights that score lower than those that lie there
    are not published. What was done is written to ``publication.json`` in the run's folder.

    Args:
        output_dir: the run's folder; its best validated epoch is taken, or the last one where none was validated.
        models_dir: folder of the weights that inference uses.
        network: network to score weights with; it ends with the run's.
        validator: evaluator of that network with a key metric, larger is better.
        trained: the finished training; named so that a configuration runs it first.
    """
    if idist.get_rank() > 0:
        return
    run, published = Path(output_dir), Path(models_dir) / WEIGHTS_NAME
    candidate = run / BEST_NAME if (run / BEST_NAME).is_file() else run / WEIGHTS_NAME
    record: dict[str, Any] = {"weights": candidate.name, "sha256": file_sha256(candidate), "published": True}
    record["validation_cases"] = len(validator.data_loader.dataset)  # type: ignore[arg-type, union-attr]
    if published.is_file():
        record["score_before"] = _score(published, network, validator)
    record["score"] = _score(candidate, network, validator)
    if record.get("score_before") is not None and record["score"] is not None:
        record["published"] = record["score"] >= record["score_before"]
    if record["published"]:
        record["kept_as"] = _replace(published, candidate)
    _tell(record, candidate, published)
    with written_whole(run / "publication.json") as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _score(weights: Path, network: nn.Module, validator: Evaluator) -> float | None:
    """Key metric of weights on the validation cases; None where there are no cases, or none that defines it."""
    try:
        load_network(network, weights)
    except ValueError as misfit:
        logger.warning(f"weights that cannot be used here are not compared: {misfit}")
        return None
    if len(validator.data_loader.dataset) == 0:  # type: ignore[arg-type, union-attr]
        return None
    validator.run()
    score = float(validator.state.metrics[validator.state.key_metric_name])
    return score if math.isfinite(score) else None


def _replace(published: Path, weights: Path) -> str | None:
    """Put weights in the place of the published ones; returns the name under which those are kept."""
    kept = None
    if published.is_file():
        # longer than model.pt, which MONAI Label takes for the default by its length
        kept = published.with_name(f"model_until_{datetime.now(UTC):%Y%m%dT%H%M%S}.pt")
        with written_whole(kept) as temporary:
            shutil.copy2(published, temporary)
    settings = weights.with_name(SETTINGS_NAME)
    if settings.is_file():
        with written_whole(published.with_name(SETTINGS_NAME)) as temporary:
            shutil.copyfile(settings, temporary)
    with written_whole(published) as temporary:
        shutil.copyfile(weights, temporary)
    return kept.name if kept else None


def _tell(record: dict[str, Any], candidate: Path, published: Path) -> None:
    before, score = record.get("score_before"), record["score"]
    compared = f"score {score:.4f}, before {before:.4f}" if None not in (before, score) else "not compared with others"
    if not record["published"]:
        logger.warning(f"{published} stays: {candidate} is worse on the validation cases ({compared})")
        return
    logger.info(f"{published} is now {candidate} ({compared})")
    if record["kept_as"]:
        logger.info(f"the weights before are kept as {published.with_name(record['kept_as'])}")
