"""Examples of every command, printed at the end of its help."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "prepare": (
        "i2net prepare synapse RawData.zip --out data/synapse",
        "i2net prepare glas Warwick_QU_Dataset --out data/glas",
    ),
    "check": (
        "i2net check data/synapse",
        "i2net check ct.nii.gz dicom_folder --json",
        "i2net check mr.nii.gz --channels T2",
    ),
    "series": ("i2net series dicom_folder",),
    "preview": ("i2net preview data/synapse", "i2net preview data/glas --datalist patient_split.json --out sheets"),
    "predict": (
        "i2net predict ct.nii.gz dicom_folder -o masks --weights runs/synapse/model.pt",
        "i2net predict dicom_folder -o masks --series 2 --weights runs/synapse/model.pt",
        "i2net predict slides -o masks --weights runs/glas/model.pt --flips --uncertainty --page",
        "i2net predict cohort -o masks --weights runs/synapse/model.pt --continue",
        "i2net predict cases.csv --column ct -o masks --weights runs/synapse/model.pt --part 3/16",
        "i2net predict 'scans/*/ct.nii.gz' -o masks --weights runs/synapse/model.pt --workers 4 --memory 8GB",
    ),
    "fetch": ("i2net fetch https://pacs.example.org/dicom-web --study 1.2.840.113619.2.55.3 -o study",),
    "store": ("i2net store masks https://pacs.example.org/dicom-web",),
    "merge": ("i2net merge masks",),
    "view": ("i2net view masks", "i2net view masks moved/scans --page masks.html --max-mb 30"),
    "surfaces": (
        "i2net surfaces masks -o surfaces",
        "i2net surfaces ct_mask.nii.gz -o surfaces --format glb --labels synapse",
    ),
    "evaluate": (
        "i2net evaluate masks data/synapse",
        "i2net evaluate masks labels -o scores --workers 4",
        "i2net evaluate masks data/glas --datalist patient_split.json --split validation --conventions",
    ),
    "report": ("i2net report runs/synapse", "i2net report runs/synapse --out page --max-cases 5"),
    "study": (
        "i2net phantoms glands data/phantoms",
        "i2net study configs/studies/smoke.yaml --dataset_dir data/phantoms --out runs/smoke --processes 2",
    ),
    "compare": ("i2net compare runs/k3 runs/k4 --out comparison",),
    "root": ('python -m monai.bundle run training --bundle_root "$(i2net root)" ...',),
    "phantoms": (
        "i2net phantoms ct data/synapse",
        "i2net phantoms glands data/glas --seed 1",
        "i2net phantoms streets streets",
        "i2net prepare cityscapes streets --out data/streets",
    ),
    "demo": ("i2net demo --out runs/demo",),
    "package": (
        "i2net package ct --out i2net_ct --weights runs/synapse/model.pt",
        "i2net package histology --out i2net_glands --untrained --encoder-weights imagenet",
    ),
}
"""Command lines by command."""


def add_examples(commands: Mapping[str, argparse.ArgumentParser]) -> None:
    """Append the examples to the help of each command.

    Args:
        commands: parsers by command.
    """
    for name, parser in commands.items():
        examples = "\n".join(f"  {line}" for line in EXAMPLES[name])
        parser.epilog = f"examples:\n{examples}" + (f"\n\n{parser.epilog}" if parser.epilog else "")
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
