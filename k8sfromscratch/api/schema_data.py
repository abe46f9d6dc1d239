"""The packed schemas of the built-in kinds, read once.

`hatch_build.py` makes the file and says what its two lines are.  The structure is needed by every server, the descriptions by the
published OpenAPI documents alone.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import orjson

_FILE = Path(__file__).parent / "data" / "schemas-v1.35.json"


@cache
def structures() -> Mapping[str, dict[str, Any]]:
    """Definition name (`io.k8s.api.core.v1.Pod`) → schema."""
    return orjson.loads(_lines()[0])


@cache
def descriptions() -> Mapping[str, tuple[str, Mapping[str, str]]]:
    """Definition name → its own text, and the texts of its properties."""
    return {name: (text, fields) for name, (text, fields) in orjson.loads(_lines()[1]).items()}


@cache
def definition_names() -> Mapping[tuple[str, str], str]:
    """(apiVersion, kind) → definition name."""
    return {
        (f"{kind['group']}/{kind['version']}" if kind["group"] else kind["version"], kind["kind"]): name
        for name, schema in structures().items()
        for kind in schema.get("x-kubernetes-group-version-kind", ())
    }


def _lines() -> list[bytes]:
    try:
        return _FILE.read_bytes().splitlines()
    except FileNotFoundError:
        raise RuntimeError(f"{_FILE} is missing: the package was not installed; run `pip install -e .` or `python hatch_build.py` in the source tree") from None
