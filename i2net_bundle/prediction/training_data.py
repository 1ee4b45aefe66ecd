"""Say what weights were trained on, and under which terms, before they are used."""

from __future__ import annotations

import logging
from pathlib import Path

from i2net_bundle.workflow.run_records import RunRecord

logger = logging.getLogger("i2net.prediction")


def report_training_data(weights: Path, record: RunRecord) -> None:
    """Log the training data of weights and their licence in one line; a warning if they are synthetic or a single case.

    Args:
        weights: weights file.
        record: its record.
    """
    terms = f" (licence of the data: {record.data_licence})" if record.data_licence else ""
    if record.training_data is None:
        logger.info(f"{weights}: its record does not name the training data")
    elif "phantom" in (record.trained_on or "").lower():
        logger.warning(
            f"{weights}: trained on {record.training_data}, which are synthetic images. Do not use its masks of "
            "patients' images."
        )
    elif record.training_cases == 1:
        logger.warning(
            f"{weights}: trained on {record.training_data} only{terms}. Expect wrong masks for other images."
        )
    else:
        logger.info(f"{weights}: trained on {record.training_data}{terms}")
