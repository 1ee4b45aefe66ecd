"""Score the masks of whole data sets: Ignite metrics, tables, folders."""

from i2net_bundle.evaluation.case_scores import CaseScores, score_case
from i2net_bundle.evaluation.classwise import ClasswiseMetric
from i2net_bundle.evaluation.scores import SegmentationScores, WriteScores

__all__ = ["CaseScores", "ClasswiseMetric", "SegmentationScores", "WriteScores", "score_case"]
