"""Which cases a data set has: ``dataset.json`` in the Decathlon form, or a folder of images."""

from __future__ import annotations

import json
from pathlib import Path

from monai.data import load_decathlon_datalist

IMAGE_SUFFIXES = (".nii", ".nii.gz", ".png", ".bmp")


def load_cases(dataset_dir: str | Path, split: str, required: bool = True) -> list[dict[str, str]]:
    """Cases of one split.

    Args:
        dataset_dir: folder of ``dataset.json``; its paths are relative to this folder.
        split: "training", "validation" or "test".
        required: whether the split must be there; otherwise a missing one is empty.

    Returns:
        ``[{"image": path, "label": path}, ...]``.

    Raises:
        FileNotFoundError: there is no ``dataset.json``, or a file it names is missing.
        ValueError: the split is missing or empty.
    """
    path = Path(dataset_dir, "dataset.json")
    if not path.is_file():
        raise FileNotFoundError(f"No dataset.json in {dataset_dir}. Name the folder that holds it with --dataset_dir.")
    if not json.loads(path.read_text(encoding="utf-8")).get(split):
        if required:
            raise ValueError(f"{path} lists no '{split}' cases.")
        return []
    cases = load_decathlon_datalist(path, is_segmentation=True, data_list_key=split)
    missing = [
        case[key] for case in cases for key in ("image", "label") if key in case and not Path(case[key]).is_file()
    ]
    if missing:
        raise FileNotFoundError(f"{path} names {len(missing)} files that do not exist, the first is {missing[0]}.")
    return cases


def list_images(folder: str | Path) -> list[dict[str, str]]:
    """Images of a folder, in the order of their names: ``[{"image": path}, ...]``.

    Hidden files and GlaS annotations (``…_anno.bmp``) are left out.

    Raises:
        FileNotFoundError: the folder does not exist or holds no image of a known format.
    """
    files = sorted(path for path in Path(folder).glob("[!.]*") if path.name.lower().endswith(IMAGE_SUFFIXES))
    files = [path for path in files if not path.stem.endswith("_anno")]
    if not files:
        raise FileNotFoundError(f"No image in {folder} (looked for {', '.join(IMAGE_SUFFIXES)}). Set --dataset_dir.")
    return [{"image": str(path)} for path in files]
