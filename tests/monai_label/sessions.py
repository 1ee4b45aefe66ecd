"""A clinician's session over HTTP from start to end, and the records it leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests.monai_label.bundles import predict, read
from tests.monai_label.server import Server


@dataclass
class Session:
    """Answers of the server, and the bundle's own predictions with the weights of the time."""

    bundle: Path
    images: dict[str, Path]
    info: dict[str, Any] = field(default_factory=dict)
    first: dict[str, Path] = field(default_factory=dict)
    expected_first: Callable[[str], np.ndarray] | None = None
    weights_before: bytes = b""
    training: dict[str, Any] = field(default_factory=dict)
    second: dict[str, Path] = field(default_factory=dict)
    expected_second: Callable[[str], np.ndarray] | None = None
    batch: dict[str, Any] = field(default_factory=dict)
    next_image: dict[str, Any] = field(default_factory=dict)
    datastore: dict[str, Any] = field(default_factory=dict)
    later_training: dict[str, Any] = field(default_factory=dict)
    weights_between: bytes = b""


def hold_session(
    server: Server, bundle: Path, studies: Path, labels: dict[str, Path], folder: Path, **train: Any
) -> Session:
    """Infer, submit labels, train on them, infer again, infer the rest in a batch.

    Args:
        server: serves ``bundle`` and ``studies``.
        bundle: its folder.
        studies: folder of images; those without a label are inferred one by one.
        labels: label files to submit, by the name of the image.
        folder: for what comes back.
        train: what the training request says.
    """
    files = {
        path.name.split(".")[0]: path for path in sorted(studies.glob("[!.]*.[!j]*"))
    }  # the server keeps a JSON there
    session = Session(bundle, {name: path for name, path in files.items() if name not in labels})
    session.info = server.info()
    session.expected_first = predict(bundle, list(files.values()), folder / "masks_first")
    session.first = _infer(server, session.images, folder, "first")
    session.next_image = server.next_image("random")
    for name, label in labels.items():
        server.submit(name, label)
    session.weights_before = (bundle / "models" / "model.pt").read_bytes()
    session.training = server.train(**train)
    session.expected_second = predict(bundle, list(files.values()), folder / "masks_second")
    session.second = _infer(server, session.images, folder, "second")
    session.batch = server.infer_batch("unlabeled")
    session.datastore = server.datastore()
    return session


def _infer(server: Server, images: dict[str, Path], folder: Path, prefix: str) -> dict[str, Path]:
    endings = {name: "".join(path.suffixes) for name, path in images.items()}
    return {name: server.infer(name, folder / f"{prefix}_{name}{ending}") for name, ending in endings.items()}


def agreement(reply: Path, expected: np.ndarray) -> float:
    """Share of voxels at which a reply says what is expected."""
    found = read(reply)
    assert found.shape == expected.shape, f"{reply.name}: {found.shape}, expected {expected.shape}"
    return float((found == expected).mean())
