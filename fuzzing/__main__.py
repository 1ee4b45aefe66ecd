"""Fuzz the readers: python -m fuzzing [--inputs N] [--seed N] [--kinds KIND ...] [--out DIR].

The inputs depend on the seed alone. Inputs that fail are kept in DIR with what happened. Exit status 1 if any failed.
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from tqdm import tqdm

from fuzzing.mutations import MARKER, damaged_bytes, damaged_document, with_png_checksums
from fuzzing.reader import Outcome, Reader
from fuzzing.samples import KINDS, Sample, content_of
from fuzzing.targets import make_run
from i2net_bundle.networks import glas_i2net, synapse_i2net


def fuzz(kinds: list[str], inputs: int, first_seed: int, out_dir: Path | None = None) -> dict[str, Counter[str]]:
    """Damage and read inputs of each kind.

    Args:
        kinds: keys of `KINDS`.
        inputs: number of inputs of all kinds together, shared equally.
        first_seed: of the inputs.
        out_dir: folder of the inputs that fail, and what happened to them.

    Returns:
        number of inputs by kind and verdict.
    """
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in kinds}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with (
            Reader(partial(make_run, _predictors(folder))) as reader,
            tqdm(total=inputs, unit="input", disable=None) as progress,
        ):
            for number, kind in enumerate(kinds):
                own = inputs // len(kinds) + (number < inputs % len(kinds))

                def read(sample: Sample, content: bytes, kind: str = kind) -> None:
                    outcome = _read(reader, kind, sample, content)
                    counts[kind][outcome.verdict] += 1
                    progress.update()
                    if outcome.is_failure and out_dir is not None:
                        _keep(out_dir, f"{kind}_{counts[kind].total():05d}", sample, content, outcome)

                _generate(KINDS[kind](_made(folder / kind)), own, first_seed, read)
    return counts


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _predictors(folder: Path) -> dict[str, Path]:
    """Write random weights of both kinds of task."""
    torch.manual_seed(0)
    paths = {}
    for task, network in (("ct", synapse_i2net()), ("histology", glas_i2net())):
        paths[task] = folder / f"{task}.pt"
        torch.save(network.state_dict(), paths[task])
    return paths


def _generate(sample: Sample, inputs: int, first_seed: int, read: Callable[[Sample, bytes], None]) -> None:
    """Call ``read`` with damaged contents. Hypothesis may end a seed early, so several are used."""
    content = content_of(sample)
    strategy = damaged_bytes(content)
    if sample.is_json:
        strategy = damaged_document(json.loads(content)) | strategy
    if sample.is_gzip:
        strategy = strategy.map(lambda damaged: gzip.compress(damaged, 1, mtime=0)) | damaged_bytes(
            sample.path.read_bytes()
        )
    if sample.is_png:
        strategy = strategy.map(with_png_checksums) | strategy
    done = 0
    for number in _seeds(first_seed):

        @seed(number)
        @settings(
            max_examples=inputs - done,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(strategy)
        def generated(damaged: bytes) -> None:
            nonlocal done
            if done < inputs:
                done += 1
                read(sample, damaged)

        generated()
        if done >= inputs:
            return


def _seeds(first: int) -> Iterator[int]:
    while True:
        yield first
        first += 1_000_003


def _read(reader: Reader, kind: str, sample: Sample, content: bytes) -> Outcome:
    valid = sample.path.read_bytes()
    marker = Path.cwd() / MARKER
    try:
        sample.path.write_bytes(content)
        outcome = reader.read(kind, sample.target)
    finally:
        sample.path.write_bytes(valid)
    if marker.exists():
        marker.unlink()
        return Outcome("code was run", outcome.detail)
    return outcome


def _keep(out_dir: Path, name: str, sample: Sample, content: bytes, outcome: Outcome) -> None:
    folder = out_dir / name
    shutil.copytree(sample.path.parent, folder, dirs_exist_ok=True)
    (folder / sample.path.name).write_bytes(content)
    (folder / "outcome.txt").write_text(f"{outcome.verdict}\n{outcome.detail}\n", encoding="utf-8")


def main() -> None:
    """Fuzz and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000, help="number of inputs of all kinds (default 10000)")
    parser.add_argument("--seed", type=int, default=0, help="of the inputs (default 0)")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS), help="kinds of input")
    parser.add_argument("--out", type=Path, help="folder for inputs that fail (default: not kept)")
    arguments = parser.parse_args()
    counts = fuzz(arguments.kinds, arguments.inputs, arguments.seed, arguments.out)
    failures = 0
    print(f"{'kind':<24} {'inputs':>7} {'read':>7} {'refused':>8} {'failed':>7}")
    for kind, found in counts.items():
        failed = {verdict: count for verdict, count in found.items() if verdict not in ("read", "refused")}
        failures += sum(failed.values())
        named = ", ".join(f"{count} {verdict}" for verdict, count in failed.items())
        print(
            f"{kind:<24} {found.total():>7} {found['read']:>7} {found['refused']:>8} {sum(failed.values()):>7}  {named}"
        )
    raise SystemExit(failures > 0)


if __name__ == "__main__":
    main()
