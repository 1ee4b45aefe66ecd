"""The columns and values of ``metrics.csv``, which readers of older files depend on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from i2net_bundle.evaluation.case_scores import score_case
from i2net_bundle.evaluation.summary import summarize, write_tables

# as written by version 0.1: "one" half found, then exact; "two" missed, then invented; "three" absent
VOLUMES = """\
case,patient,class,status,strict_dice,strict_hd95,strict_surface_dice,transunet_dice,transunet_hd95,volume_difference_ml,distance_unit,label_voxels,pred_voxels,label_ml,pred_ml
a,p1,one,found,0.6666666667,1.9,1,0.6666666667,0.9,-0.008,mm,2,1,0.016,0.008
a,p1,two,missed,0,10.39230485,0,0,0,-0.008,mm,1,0,0.008,0
a,p1,three,absent,,,,0,0,0,mm,0,0,0,0
b,p2,one,found,1,0,1,1,0,0,mm,2,2,0.016,0.016
b,p2,two,invented,0,10.39230485,0,1,0,0.008,mm,0,1,0,0.008
b,p2,three,absent,,,,0,0,0,mm,0,0,0,0
"""
GLANDS = """\
case,part,class,status,strict_dice,strict_hd95,strict_surface_dice,transunet_dice,transunet_hd95,volume_difference_ml,object_f1,object_dice,object_hausdorff,distance_unit,label_voxels,pred_voxels,label_ml,pred_ml
g,testA,gland,found,0.6559297218,20.24845673,,0.6559297218,19.52016553,,0.6666666667,0.699795082,6.421809539,pixel,427,256,,
"""


def row(*labels: int) -> np.ndarray:
    return np.array(labels, np.uint8).reshape(-1, 1, 1)


def test_volumes_are_written_as_in_version_0_1(tmp_path: Path) -> None:
    pairs = {"a": (row(1, 0, 0, 0, 0), row(1, 1, 2, 0, 0)), "b": (row(1, 1, 2, 0, 0), row(1, 1, 0, 0, 0))}
    cases = [
        score_case(*pair, 4, (2.0, 2.0, 2.0), "mm", {"case": name, "patient": f"p{number}"})
        for number, (name, pair) in enumerate(pairs.items(), 1)
    ]
    names = ["background", "one", "two", "three"]
    write_tables(tmp_path, cases, names, summarize(cases, names))
    assert (tmp_path / "metrics.csv").read_text().splitlines() == VOLUMES.splitlines()


def test_glands_are_written_as_in_version_0_1(tmp_path: Path) -> None:
    ids = np.zeros((30, 40), np.uint8)
    ids[2:18, 2:18], ids[20:29, 20:39] = 1, 2
    pred = np.zeros_like(ids)
    pred[2:18, 4:20] = 1
    case = score_case(pred, (ids > 0).astype(np.uint8), 2, (1.0, 1.0), "pixel", {"case": "g", "part": "testA"}, ids)
    summary = summarize([case], ["background", "gland"])
    write_tables(tmp_path, [case], ["background", "gland"], summary)
    assert (tmp_path / "metrics.csv").read_text().splitlines() == GLANDS.splitlines()
    assert summary["mean"]["objects_pooled"] == {
        "f1": 0.6666666667,
        "dice": 0.699795082,
        "hausdorff": 6.421809539,
        "true_positives": 1,
        "false_positives": 0,
        "false_negatives": 1,
    }
