"""Write what the locked environment consists of, as a bill of materials in CycloneDX."""

import sys
from importlib.metadata import requires, version
from pathlib import Path

from cyclonedx.model import Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCK = Path(__file__).parent.parent / "requirements.lock"


def write_sbom(lock: Path, path: Path) -> int:
    """Write the bill of materials of a lock file, and give the number of packages in it."""
    # Lines that begin with a space hold digests of the files of the pin above them.
    pins = [Requirement(line.removesuffix("\\")) for line in lock.read_text().splitlines() if line[0] != " "]
    components = [_describe(pin) for pin in pins]
    bom = Bom(components=components)
    bom.metadata.component = Component(name="maskdepth", version=version("maskdepth"), type=ComponentType.APPLICATION)
    wanted = {canonicalize_name(Requirement(line).name) for line in requires("maskdepth") or []}
    bom.register_dependency(bom.metadata.component, [one for one in components if one.name in wanted])
    path.write_text(f"{JsonV1Dot6(bom).output_as_string(indent=2)}\n")
    return len(components)


def _describe(pin: Requirement) -> Component:
    locked = str(pin.specifier).removeprefix("==")
    purl = PackageURL("pypi", name=pin.name, version=locked)
    # Some packages are locked twice, each for where its marker says.
    where = [Property(name="maskdepth:marker", value=str(pin.marker))] if pin.marker else []
    return Component(
        name=pin.name, version=locked, type=ComponentType.LIBRARY, purl=purl, bom_ref=str(purl), properties=where
    )


if __name__ == "__main__":
    target = Path(sys.argv[1])
    print(f"{target}: {write_sbom(LOCK, target)} packages")
