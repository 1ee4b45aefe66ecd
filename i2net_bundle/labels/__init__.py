"""Classes: names, colours, codes, expected volumes and positions, and tables of classes."""

from i2net_bundle.labels.classes import LabelClass, label_class
from i2net_bundle.labels.tables import LabelTable, class_names, classes_of, is_builtin, label_table, map_labels

__all__ = [
    "LabelClass",
    "LabelTable",
    "class_names",
    "classes_of",
    "is_builtin",
    "label_class",
    "label_table",
    "map_labels",
]
