"""The bill of materials of an image: every distribution with version and hashes, the same bytes each time."""

import json
from pathlib import Path

from tests.images.dockerfile import locked, versions
from tests.images.sbom import write_sbom


def test_it_lists_what_the_image_holds(tmp_path: Path) -> None:
    write_sbom("monitor", tmp_path / "monitor.cdx.json")
    document = json.loads((tmp_path / "monitor.cdx.json").read_text())
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    assert document["metadata"]["component"]["name"] == "archipelago-search"
    components = {component["name"]: component for component in document["components"]}
    assert {name: component["version"] for name, component in components.items()} == versions("monitor")
    for name, (version, hashes) in locked("monitor").items():
        assert components[name]["purl"] == f"pkg:pypi/{name}@{version}"
        stated = {each["content"] for link in components[name]["externalReferences"] for each in link["hashes"]}
        assert stated == {digest.removeprefix("sha256:") for digest in hashes}
