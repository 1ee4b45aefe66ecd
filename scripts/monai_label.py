"""Serve a folder of CT volumes or gland images with MONAI Label, from this machine to this machine alone.

python3.11 scripts/monai_label.py STUDIES --task ct --start untrained

Needs Python 3.11 and nothing else: it creates an environment for the server, packages the task as a bundle, and starts
the server on 127.0.0.1. Everything is in --folder. A second start with the same weights and overlays serves the same
bundle with what it has learned since; other weights get a bundle of their own. See docs/monai-label.md.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = ROOT / "scripts" / "monai_label_constraints.txt"
MONAI_LABEL = "monailabel==0.8.5"

TASKS = ("ct", "histology")
STARTS = {"ct": ("untrained", "phantoms"), "histology": ("untrained", "phantoms", "imagenet")}
DEFAULT_WEIGHTS = {"ct": "model.pt", "histology": "glands/model.pt"}
# replies have the image's own format, and JPEG would blur the labels
FILES = {"ct": ["*.nii.gz", "*.nii"], "histology": ["*.png", "*.bmp", "*.tif", "*.tiff"]}
DEMO = {
    "ct": ("ct", ["demo_ct.yaml"], ["demo_ct_train.yaml"]),
    "histology": ("glands", [], ["demo_histology_train.yaml"]),
}


def main() -> None:
    """Read the command line, create what is missing, and start the server."""
    arguments = parse()
    folder = Path(arguments.folder).resolve()
    environment_folder = Path(arguments.environment or folder / "venv").resolve()
    python = make_environment(environment_folder, arguments.torch_index)
    if arguments.install:
        print(f"ready: {python}")
        return
    app = folder / "app"
    bundle = make_bundle(arguments, python, folder)
    shutil.copyfile(ROOT / "scripts" / "monai_label_app" / "main.py", app / "main.py")
    if arguments.prepare:
        print(f"ready: {bundle}")
        return
    studies = Path(arguments.studies).resolve()
    command = [str(python), "-m", "monailabel.main", "start_server", "--host", arguments.host]
    command += ["--port", str(arguments.port), "--app", str(app), "--studies", str(studies)]
    # without these two settings the server looks for the model zoo and for SAM-2's weights on the internet
    command += ["--conf", "models", bundle.name, "--conf", "zoo_source", "local", "--conf", "sam2", "false"]
    print(f"MONAI Label: http://{arguments.host}:{arguments.port} serves {studies} with {bundle}", flush=True)
    os.chdir(folder)
    os.execve(command[0], command, environment(python, folder, arguments.task))


def parse() -> argparse.Namespace:
    """Read the command line; refuse options that exclude each other and files that do not exist."""
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("studies", nargs="?", help="folder of NIfTI volumes, or of PNG, BMP or TIFF images")
    parser.add_argument("--task", choices=TASKS, default="ct", help="default ct")
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--weights",
        metavar="PATH",
        help="model.pt of a training run; default is the one in models/",
    )
    source.add_argument(
        "--start", choices=STARTS["histology"], help="weights to start annotating with if there are no trained ones"
    )
    parser.add_argument(
        "--encoder-weights",
        metavar="PATH",
        help="with --start imagenet: file of a state dict to use instead of the download",
    )
    parser.add_argument("--overlay", action="append", default=[], help="configuration that --weights was trained with")
    parser.add_argument("--train-overlay", action="append", default=[], help="configuration for training alone")
    parser.add_argument("--folder", default=ROOT / ".monai_label", help="default .monai_label in the checkout")
    parser.add_argument("--environment", metavar="DIR", help="environment of the server; default venv in --folder")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to serve at; the server has no login, so change it only where others cannot reach that address, "
        "such as in a container whose port is published on 127.0.0.1",
    )
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--torch-index", metavar="URL", help="package index for torch and torchvision; default PyPI")
    parser.add_argument("--install", action="store_true", help="create the environment, and nothing else")
    parser.add_argument("--prepare", action="store_true", help="create environment and bundle, and start nothing")
    arguments = parser.parse_args()
    if arguments.install:
        return arguments
    if arguments.studies is None:
        parser.error("name the folder of STUDIES")
    if not Path(arguments.studies).is_dir():
        parser.error(f"there is no folder {arguments.studies}")
    if arguments.start and arguments.start not in STARTS[arguments.task]:
        parser.error(
            f"--start {arguments.start} is not available for {arguments.task}: {', '.join(STARTS[arguments.task])}"
        )
    if arguments.encoder_weights and arguments.start != "imagenet":
        parser.error("--encoder-weights needs --start imagenet")
    for option, path in _given_files(arguments):
        if not path.is_file():
            parser.error(f"--{option}: there is no file {path}")
    if not arguments.weights and not arguments.start and not default_weights(arguments.task).is_file():
        parser.error(
            f"there are no trained weights for {arguments.task}. Pass yours with --weights, or use --start "
            f"{' or '.join(STARTS[arguments.task])}, see docs/monai-label.md."
        )
    return arguments


def default_weights(task: str) -> Path:
    """Path of the weights that `i2net package` takes if it is given none; perhaps there is no such file."""
    return ROOT / "models" / DEFAULT_WEIGHTS[task]


def make_environment(folder: Path, torch_index: str | None) -> Path:
    """Create the server's environment unless it matches the constraints; return its Python."""
    python = folder / "bin" / "python"
    requirements = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    stamp, wanted = (
        folder / "made_from",
        hashlib.sha256(f"{requirements}{CONSTRAINTS.read_text()}".encode()).hexdigest(),
    )
    if stamp.is_file() and stamp.read_text() == wanted:
        return python
    print(f"creating the server's environment in {folder}: this takes a few minutes", flush=True)
    venv.create(folder, with_pip=True, clear=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--constraint", str(CONSTRAINTS)]
    # torch first: SAM-2, which MONAI Label installs from source, needs it to build
    index = ["--index-url", torch_index] if torch_index else []
    subprocess.run([*pip, *index, "torch", "torchvision"], check=True)
    subprocess.run([*pip, "setuptools", "wheel"], check=True)
    build = os.environ | {"SAM2_BUILD_CUDA": "0"}
    subprocess.run([*pip, "--no-build-isolation", MONAI_LABEL, *requirements], check=True, env=build)
    stamp.write_text(wanted)
    return python


def bundle_name(arguments: argparse.Namespace) -> str:
    """Name of the served bundle; it ends with a digest of the files it is made from, if any are given."""
    given = _given_files(arguments)
    contents = [(option, hashlib.sha256(path.read_bytes()).hexdigest()) for option, path in given]
    made_from = hashlib.sha256(repr(contents).encode()).hexdigest()[:8] if given else None
    return "_".join(filter(None, ["i2net", arguments.task, arguments.start, made_from]))


def _given_files(arguments: argparse.Namespace) -> list[tuple[str, Path]]:
    """Weights and configurations of the command line: option and absolute path."""
    default = default_weights(arguments.task)
    weights = arguments.weights or (default if default.is_file() and not arguments.start else None)
    options = {"weights": [weights], "encoder-weights": [arguments.encoder_weights]}
    options |= {"overlay": arguments.overlay, "train-overlay": arguments.train_overlay}
    return [(option, Path(path).resolve()) for option, paths in options.items() for path in paths if path]


def make_bundle(arguments: argparse.Namespace, python: Path, folder: Path) -> Path:
    """Package the task; a bundle from the same files is kept, with what it has learned."""
    bundle = folder / "app" / "model" / bundle_name(arguments)
    if bundle.is_dir():
        print(f"{bundle} exists from an earlier start and is served with what it has learned since", flush=True)
        return bundle
    package = ["package", arguments.task, "--out", str(bundle)]
    overlays, train_overlays = arguments.overlay, arguments.train_overlay
    if arguments.weights:
        package += ["--weights", str(Path(arguments.weights).resolve())]  # the command runs in the checkout
    elif arguments.start == "phantoms":
        _, shared, training = DEMO[arguments.task]
        overlays, train_overlays = [*configs(*shared), *overlays], [*configs(*training), *train_overlays]
        package += [
            "--weights",
            str(train_on_phantoms(arguments.task, python, folder)),
            "--origin",
            "trained on phantoms",
        ]
    elif arguments.start:
        package.append("--untrained")
        if arguments.start == "imagenet":
            source = arguments.encoder_weights
            package += ["--encoder-weights", str(Path(source).resolve()) if source else "imagenet"]
    for option, paths in (("--overlay", overlays), ("--train-overlay", train_overlays)):
        package += [part for path in paths for part in (option, str(Path(path).resolve()))]
    run(python, "i2net_bundle", *package)
    return bundle


def train_on_phantoms(task: str, python: Path, folder: Path) -> Path:
    """Train as the demonstration does, in minutes; return the path of the weights."""
    kind, overlays, train_overlays = DEMO[task]
    made = folder / f"phantoms_{task}"
    if not (made / "run" / "model.pt").is_file():
        print("training on phantoms: this takes a few minutes", flush=True)
        shutil.rmtree(made, ignore_errors=True)
        run(python, "i2net_bundle", "phantoms", kind, str(made / "data"))
        shared = ["histology.yaml", "histology_train.yaml"] if task == "histology" else []
        files = configs("train.json", *shared, *overlays, *train_overlays)
        training = ["--dataset_dir", str(made / "data"), "--output_dir", str(made / "run")]
        run(python, "monai.bundle", "run", "training", "--config_file", str(files), *training)
    return made / "run" / "model.pt"


def configs(*names: str) -> list[str]:
    """Paths of the bundle's configurations."""
    return [str(ROOT / "configs" / name) for name in names]


def run(python: Path, module: str, *arguments: str) -> None:
    """Run a module with the server's Python in the checkout, where the package i2net_bundle is."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([str(python), "-m", module, *arguments], cwd=ROOT, env=clean)
    if done.returncode:
        sys.exit(done.returncode)


def environment(python: Path, folder: Path, task: str) -> dict[str, str]:
    """Environment variables of the server; those that are already set are kept."""
    settings = {
        "MONAI_LABEL_DATASTORE_FILE_EXT": json.dumps(FILES[task]),
        "MONAI_LABEL_SESSION_PATH": str(folder / "sessions"),
    }
    # MONAI Label extends this variable and fails without it; its own start script sets the same
    return settings | os.environ | {"PYTHONPATH": str(python.parents[1])}


if __name__ == "__main__":
    main()
