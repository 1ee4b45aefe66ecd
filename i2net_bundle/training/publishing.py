"""Publish a finished run's weights for inference, unless the published ones score better."""

from __future__ import annotations

import logging
import math
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from monai.engines import Evaluator
from torch import nn

from i2net_bundle.io.json_files import write_json
from i2net_bundle.io.writing import file_sha256, written_whole
from i2net_bundle.networks.weights import load_network
from i2net_bundle.workflow.run_folders import BEST_NAME, WEIGHTS_NAME
from i2net_bundle.workflow.run_settings import SETTINGS_NAME

logger = logging.getLogger("i2net.training")


def publish_weights(
    output_dir: str | Path, models_dir: str | Path, network: nn.Module, validator: Evaluator, trained: Any = None
) -> None:
    """Copy a run's weights to ``models/model.pt``. Earlier weights are kept under another name.

    If there are validation cases, both are scored on them, and the new weights are published only if they score at
    least as high. ``publication.json`` in the run's folder records the outcome. Several processes score together, and
    the first one writes.

    Args:
        output_dir: the run's folder. Its best epoch is published, or its last epoch if none was validated.
        models_dir: folder of the weights for inference.
        network: the network to score with. It contains the run's weights afterwards.
        validator: evaluator of that network with a key metric; larger is better.
        trained: the finished training. Referring to it makes a configuration run it first.
    """
    if idist.get_world_size() > 1:
        idist.barrier()  # the first process may still be writing the weights
    run, published = Path(output_dir), Path(models_dir) / WEIGHTS_NAME
    candidate = run / BEST_NAME if (run / BEST_NAME).is_file() else run / WEIGHTS_NAME
    compares = published.is_file()
    score_before = _score(published, network, validator) if compares else None
    score = _score(candidate, network, validator)
    if idist.get_rank() > 0:
        return
    record: dict[str, Any] = {"weights": candidate.name, "sha256": file_sha256(candidate), "published": True}
    record["validation_cases"] = len(validator.data_loader.dataset)  # type: ignore[arg-type, union-attr]
    if compares:
        record["score_before"] = score_before
    record["score"] = score
    if score_before is not None and score is not None:
        record["published"] = score >= score_before
    if record["published"]:
        record["kept_as"] = _replace(published, candidate)
    _report(record, candidate, published)
    write_json(run / "publication.json", record)


def _score(weights: Path, network: nn.Module, validator: Evaluator) -> float | None:
    """Key metric of weights on the validation cases; None without cases or if the metric is undefined."""
    try:
        load_network(network, weights)
    except ValueError as misfit:
        logger.warning(f"not compared with unusable weights: {misfit}")
        return None
    if len(validator.data_loader.dataset) == 0:  # type: ignore[arg-type, union-attr]
        return None
    validator.run()
    score = float(validator.state.metrics[validator.state.key_metric_name])
    return score if math.isfinite(score) else None


def _replace(published: Path, weights: Path) -> str | None:
    """Replace the published weights; return the name under which the earlier ones are kept."""
    kept = None
    if published.is_file():
        # MONAI Label takes the shortest name as the default, so this one is longer than model.pt
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


def _report(record: dict[str, Any], candidate: Path, published: Path) -> None:
    before, score = record.get("score_before"), record["score"]
    compared = f"score {score:.4f}, before {before:.4f}" if None not in (before, score) else "not compared"
    if not record["published"]:
        logger.warning(f"{published} is kept: {candidate} scores lower on the validation cases ({compared})")
        return
    logger.info(f"{candidate} was copied to {published} ({compared})")
    if record["kept_as"]:
        logger.info(f"the earlier weights are kept as {published.with_name(record['kept_as'])}")
