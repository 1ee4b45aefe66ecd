"""Find the cases of an nnU-Net v2 data set in its folders.

``imagesTr/CASE_0000.nii.gz`` contains channel 0 of CASE, ``CASE_0001.nii.gz`` channel 1, and so on;
``labelsTr/CASE.nii.gz`` is its label. ``imagesTs`` contains the test cases, whose labels in ``labelsTs`` are optional.
A ``dataset.json`` with a ``dataset`` entry lists its training cases explicitly.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from i2net_bundle.io.findings import DataError, Finding, error
from i2net_bundle.io.formats import IMAGE_SUFFIXES, known_suffixes

_FOLDERS = {"training": ("imagesTr", "labelsTr"), "test": ("imagesTs", "labelsTs")}
_MOST_FINDINGS = 20


def is_nnunet(contents: Mapping[str, Any]) -> bool:
    """Whether a ``dataset.json`` has the nnU-Net v2 form, in which the folders define the cases."""
    return "file_ending" in contents or "channel_names" in contents


def nnunet_splits(path: Path, contents: Mapping[str, Any], num_channels: int) -> dict[str, list[dict[str, Any]]]:
    """Find the cases of the data set.

    Args:
        path: the ``dataset.json``.
        contents: its contents.
        num_channels: number of declared channels.

    Returns:
        "training" and, if there are test images, "test": ``[{"image": path or paths, "label": path, "case": name}]``,
        with paths in the folder of ``path``.

    Raises:
        DataError: files are missing or unexpected; names the cases.
    """
    ending = contents.get("file_ending")
    if not isinstance(ending, str) or ending.lower() not in known_suffixes():
        problem = f"has the file_ending {ending!r}" if ending else "has no file_ending"
        remedy = f'Set "file_ending" to the suffix of the images: {", ".join(known_suffixes())}.'
        raise DataError([error("datalist", path, problem, remedy)])
    files = 1 if ending.lower() in IMAGE_SUFFIXES else num_channels  # a 2D image has its colours in a single file
    listed = contents.get("dataset")
    splits = {}
    findings: list[Finding] = []
    if isinstance(listed, Mapping):
        splits["training"] = _listed_cases(path, listed, files, findings)
    else:
        splits["training"] = _folder_cases(path, "training", ending, files, findings)
    splits["test"] = _folder_cases(path, "test", ending, files, findings)
    expected = contents.get("numTraining")
    found = len(splits["training"])
    if not findings and found and isinstance(expected, int) and expected != found:
        problem = f"declares {expected} training cases (numTraining), but {found} were found"
        findings.append(error("datalist", path, problem, "Complete the folder, or correct numTraining."))
    if findings:
        more = len(findings) - _MOST_FINDINGS
        if more > 0:
            problem = f"has {more} more faults of this kind"
            findings = [*findings[:_MOST_FINDINGS], error("datalist", path, problem, "Correct the ones above first.")]
        raise DataError(findings)
    return {split: cases for split, cases in splits.items() if cases}


def _folder_cases(path: Path, split: str, ending: str, num_files: int, findings: list[Finding]) -> list[dict[str, Any]]:
    images, labels = (path.parent / folder for folder in _FOLDERS[split])
    form = re.compile(rf"(.+)_(\d{{4}}){re.escape(ending)}")
    channels: dict[str, dict[int, Path]] = {}
    for file in sorted(images.glob("[!.]*")):
        if match := form.fullmatch(file.name):
            channels.setdefault(match[1], {})[int(match[2])] = file
        elif file.is_file() and file.name.lower().endswith(known_suffixes()):
            remedy = f"Rename it to CASE_0000{ending}, where 0000 is the number of its channel."
            findings.append(error("channel-files", file, "does not follow nnU-Net's naming of images", remedy))
    annotated = {file.name[: -len(ending)]: file for file in sorted(labels.glob(f"[!.]*{ending}"))}
    cases = []
    for name, numbered in channels.items():
        findings += _channel_findings(images, name, numbered, num_files, ending)
        case = _case(name, list(numbered.values()))
        if name in annotated:
            case["label"] = str(annotated[name])
        elif split == "training":
            problem = f"the case {name} has no label {labels.name}/{name}{ending}"
            findings.append(error("no-label", path, problem, "Add its label, or remove its images from the folder."))
        cases.append(case)
    for name in sorted(set(annotated) - set(channels)):
        problem = f"the case {name} has a label but no image {images.name}/{name}_0000{ending}"
        findings.append(error("channel-files", path, problem, "Add its images, or remove its label from the folder."))
    return cases


def _channel_findings(
    folder: Path, name: str, numbered: Mapping[int, Path], num_files: int, ending: str
) -> list[Finding]:
    missing = [f"{name}_{number:04d}{ending}" for number in range(num_files) if number not in numbered]
    beyond = [file.name for number, file in numbered.items() if number >= num_files]
    if missing:
        problem = f"the case {name} lacks {', '.join(missing)}: every case has {num_files} channels"
        return [error("channel-files", folder, problem, "Add the file, or remove the case from the data set.")]
    if beyond:
        problem = f"the case {name} has {', '.join(beyond)}, but dataset.json declares {num_files} channels"
        return [error("channel-files", folder, problem, "Declare every channel in channel_names, or remove the file.")]
    return []


def _listed_cases(
    path: Path, listed: Mapping[str, Any], num_files: int, findings: list[Finding]
) -> list[dict[str, Any]]:
    """Return the cases of a ``dataset`` entry, which names the files."""
    cases = []
    for name, entry in listed.items():
        images = entry.get("images") if isinstance(entry, Mapping) else None
        label = entry.get("label") if isinstance(entry, Mapping) else None
        if not (isinstance(images, list) and all(isinstance(file, str) for file in images) and isinstance(label, str)):
            problem = f'the case {name} of \'dataset\' does not have the form {{"images": [path, …], "label": path}}'
            findings.append(error("datalist", path, problem, "Correct it."))
            continue
        if len(images) != num_files:
            problem = f"the case {name} has {len(images)} images, but {num_files} channels are declared"
            findings.append(error("channel-files", path, problem, "List one file per channel."))
        case = _case(str(name), [path.parent / file for file in images])
        cases.append({**case, "label": str(path.parent / label)})
    return cases


def _case(name: str, images: list[Path]) -> dict[str, Any]:
    paths = [str(image) for image in images]
    return {"image": paths[0] if len(paths) == 1 else paths, "case": name}
