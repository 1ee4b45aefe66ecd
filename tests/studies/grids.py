"""Small studies for the tests: a file of two networks, and one of two folds whose scores are made up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from i2net_bundle.studies.cells import Cell
from i2net_bundle.studies.plan import Arm, Folds, Options, Plan, Published
from i2net_bundle.studies.preflight import Fold
from tests.studies.fake_cells import fake_cell, write_scores

SMALL = """
task: histology
settings: {epochs: 3}
axes:
  network:
    i2net: {}
    bilinear: {overlays: [peer.yaml], settings: {decoder: bilinear}}
folds: FOLDS
"""
"""Text of a study, in which FOLDS stands for its folds."""

Score = Callable[[str, int, int], float]
"""Dice of an arm, a seed and a case from 0."""


def make_plan(arms: Sequence[str], seeds: Sequence[int] = (0,), published: Published | None = None) -> Plan:
    """A plan whose first arm is the reference."""
    rows = tuple(Arm(name, f"Net {name}", Options()) for name in arms)
    return Plan(
        Path("grid.yaml"),
        "A grid",
        "histology",
        rows,
        arms[0],
        tuple(seeds),
        Folds(count=2),
        "validation",
        0,
        published,
    )


def make_folds(cases: int = 8) -> list[Fold]:
    """Two folds, in each of which cases have the names 0, 1, …"""
    half = cases // 2
    return [
        Fold(f"fold_{fold}", Path(f"fold_{fold}.json"), (), {str(n): f"case_{fold * half + n}" for n in range(half)})
        for fold in range(2)
    ]


def make_cells(out: Path, plan: Plan, folds: Sequence[Fold], score: Score, patients: bool = False) -> list[Cell]:
    """Finished cells of a plan."""
    cells = []
    for arm in plan.arms:
        for seed in plan.seeds:
            for number, fold in enumerate(folds):
                cell = fake_cell(out, arm.name, fold.name, seed)
                rows = []
                for case in fold.scored:
                    index = number * len(fold.scored) + int(case)
                    dice = score(arm.name, seed, index)
                    row = {"case": case, **({"patient": index // 2} if patients else {}), "class": "gland"}
                    row |= {"strict_dice": dice, "transunet_dice": dice, "transunet_hd95": 10 * dice}
                    rows.append({**row, "distance_unit": "pixel", "label_voxels": index})
                write_scores(cell, rows)
                object.__setattr__(cell, "scored", tuple(fold.scored))
                cells.append(cell)
    return cells
