"""core/ decides and nothing else: no event loop, sockets, files, clock or randomness, neither imported nor called.

import-linter cannot see builtins or a method of an allowed module, so this reads the code itself.  Planted violations show that it does.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PURE = [ROOT / "k8sfromscratch" / "core", ROOT / "k8sfromscratch" / "api"]

FORBIDDEN_MODULES = {
    "aiohttp", "asyncio", "concurrent", "ctypes", "docker", "grpc", "http", "importlib", "io", "lmdb", "logging", "mmap", "multiprocessing", "os", "pathlib",
    "pyroute2", "random", "sched", "secrets", "selectors", "shutil", "signal", "socket", "sqlite3", "ssl", "subprocess", "sys", "tempfile", "threading", "time",
    "urllib.request", "uvloop",
}  # fmt: skip
FORBIDDEN_CALLS = {"open", "__import__", "exec", "eval", "input", "print", "breakpoint"}
FORBIDDEN_ATTRIBUTES = {
    ("datetime", "now"),
    ("datetime", "utcnow"),
    ("datetime", "today"),
    ("date", "today"),
    ("uuid", "uuid4"),
    ("uuid", "uuid1"),
    ("np", "random"),
    ("numpy", "random"),
}

ALLOWED = {"api/schema_data.py": {"importlib", "pathlib"}, "api/protobuf_body.py": {"pathlib"}}
"""The places below the shells that read a file: tables packed into our own wheel, once."""


def violations(source: str, allowed: set[str] = frozenset()) -> Iterator[str]:  # type: ignore[assignment]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            names = []
        for name in names:
            if (name in FORBIDDEN_MODULES or name.split(".")[0] in FORBIDDEN_MODULES) and name.split(".")[0] not in allowed:
                yield f"line {node.lineno}: imports {name}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FORBIDDEN_CALLS:
            yield f"line {node.lineno}: calls {node.func.id}()"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and (node.value.id, node.attr) in FORBIDDEN_ATTRIBUTES:
            yield f"line {node.lineno}: uses {node.value.id}.{node.attr}"
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
            yield f"line {node.lineno}: is asynchronous"


@pytest.mark.parametrize("path", sorted(p for top in PURE for p in top.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT / "k8sfromscratch")))
def test_no_effects(path: Path) -> None:
    relative = str(path.relative_to(ROOT / "k8sfromscratch"))
    assert list(violations(path.read_text(), ALLOWED.get(relative, set()))) == []


@pytest.mark.parametrize(
    "planted",
    [
        "import asyncio",
        "from time import monotonic",
        "import urllib.request",
        "def f():\n    import random",
        "x = open('f')",
        "x = __import__('os')",
        "from datetime import datetime\nx = datetime.now()",
        "async def f(): ...",
        "import numpy as np\nx = np.random.rand()",
    ],
)
def test_planted_violations_are_found(planted: str) -> None:
    assert list(violations(planted))
