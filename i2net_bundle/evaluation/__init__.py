"""Score the predictions for a data set: Ignite metrics, tables, folders of masks."""

from i2net_bundle.evaluation.case_scores import CaseScores, score_case
from i2net_bundle.evaluation.classwise import ClasswiseMetric
from i2net_bundle.evaluation.scores import SegmentationScores, WriteScores

__all__ = ["CaseScores", "ClasswiseMetric", "SegmentationScores", "WriteScores", "score_case"]
