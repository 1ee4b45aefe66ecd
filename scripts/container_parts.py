"""List the parts of a container image in CycloneDX: the Python packages of an environment, and Debian's packages.

python scripts/container_parts.py ENVIRONMENT/bin/python parts.cdx.json

Runs while the image is built, with the Python of an environment that contains cyclonedx-bom.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

FIELDS = "${Package}\t${Version}\t${Architecture}\n"


def main() -> None:
    """Read the command line and write the list."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("python", help="interpreter of the environment")
    parser.add_argument("out", help="JSON file to write")
    arguments = parser.parse_args()
    bom = python_packages(arguments.python)
    listed = subprocess.run(["dpkg-query", "--show", f"--showformat={FIELDS}"], check=True, capture_output=True)
    for line in listed.stdout.decode().splitlines():
        bom.components.add(debian_package(*line.split("\t")))
    Path(arguments.out).write_text(JsonV1Dot6(bom).output_as_string(indent=1), encoding="utf-8")
    print(f"{arguments.out}: {len(bom.components)} parts")


def python_packages(python: str) -> Bom:
    """The packages of an environment, by CycloneDX's own tool."""
    command = [str(Path(sys.executable).with_name("cyclonedx-py")), "environment", "--output-reproducible", python]
    done = subprocess.run(command, check=True, capture_output=True)
    return Bom.from_json(json.loads(done.stdout))


def debian_package(name: str, version: str, architecture: str) -> Component:
    """One installed package of Debian."""
    purl = PackageURL("deb", "debian", name, version, {"arch": architecture})
    return Component(type=ComponentType.LIBRARY, name=name, version=version, purl=purl, bom_ref=purl.to_string())


if __name__ == "__main__":
    main()
