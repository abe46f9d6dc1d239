"""Build hook: packs the schemas of the release we serve into `k8sfromscratch/api/data/`.

They come from the package `kubernetes-validate`, which carries upstream's OpenAPI definitions as JSON Schema; upstream's text is
never committed.  The hook runs for wheels and for editable installs alike; `python hatch_build.py` does the same in a source tree.

The file has two lines, so that a server reads at its start only what it needs:

    1  {definition: schema}                    structure; `$ref` is the bare name of a definition
    2  {definition: [text, {property: text}]}  descriptions, for the published OpenAPI documents

What JSON Schema cannot say is put back as Kubernetes says it: IntOrString and Quantity are `oneOf` there, `x-kubernetes-int-or-string`
and `format: quantity` here; an object without properties is free-form.  `additionalProperties: false` and `null` among the types are
the package's own additions (its strict variant), and so are the enums of kind and apiVersion: dropped.
"""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

RELEASE = "v1.35"
DATA = Path("k8sfromscratch/api/data") / f"schemas-{RELEASE}.json"

_UNSTABLE = re.compile(r"v\d+(alpha|beta)\d+")
_REF = "#/$defs/"
_INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"

Schema = dict[str, Any]


def pack(root: Path) -> Path:
    """Writes the file where it is missing or older than the package's data, and returns its path."""
    target = root / DATA
    package = find_spec("kubernetes_validate")
    if package is None or package.origin is None:
        raise RuntimeError("the package kubernetes-validate is needed to build: pip install 'kubernetes-validate==1.37.0'")
    source = Path(package.origin).parent / "kubernetes-json-schema" / f"{RELEASE}.0-local-strict" / "_definitions.json"
    definitions: dict[str, Schema] = orjson.loads(source.read_bytes())["$defs"]
    stable = {name: schema for name, schema in definitions.items() if not _UNSTABLE.search(name)}
    structures = {name: _structure(name, schema) for name, schema in stable.items()}
    descriptions = {name: _descriptions(schema) for name, schema in stable.items()}
    content = orjson.dumps(structures) + b"\n" + orjson.dumps(descriptions) + b"\n"
    if not target.exists() or target.read_bytes() != content:
        target.parent.mkdir(exist_ok=True)
        unfinished = target.with_suffix(".tmp")
        unfinished.write_bytes(content)
        unfinished.replace(target)
    return target


def _structure(name: str, schema: Schema) -> Schema:
    if name == _INT_OR_STRING:
        return {"x-kubernetes-int-or-string": True}
    if name == _QUANTITY:
        return {"type": "string", "format": "quantity"}
    reduced = _reduced(schema)
    if "properties" in reduced:
        for field in ("apiVersion", "kind"):
            reduced["properties"].get(field, {}).pop("enum", None)
    elif reduced.get("type", "object") == "object" and "additionalProperties" not in reduced:
        reduced["x-kubernetes-preserve-unknown-fields"] = True
    kinds = [kind for kind in reduced.get("x-kubernetes-group-version-kind", ()) if not _UNSTABLE.search(kind["version"])]
    if kinds:
        reduced["x-kubernetes-group-version-kind"] = kinds
    return reduced


def _reduced(schema: Schema) -> Schema:
    reduced: Schema = {}
    for key, value in schema.items():
        match key:
            case "description":
                continue
            case "type":
                reduced[key] = value if isinstance(value, str) else next(name for name in value if name != "null")
            case "$ref":
                reduced[key] = value.removeprefix(_REF)
            case "properties":
                reduced[key] = {name: _reduced(of) for name, of in value.items()}
            case "items":
                reduced[key] = _reduced(value)
            case "additionalProperties":
                if isinstance(value, dict):
                    reduced[key] = _reduced(value)
            case _:
                reduced[key] = value
    return reduced


def _descriptions(schema: Schema) -> list[Any]:
    return [schema.get("description", ""), {name: of["description"] for name, of in schema.get("properties", {}).items() if "description" in of}]


class CustomBuildHook(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        pack(Path(self.root))


if __name__ == "__main__":
    print(pack(Path(__file__).parent))
