"""pyinfra reads components' flags with everything patched by gevent: whatever brings an event loop along must not be imported by them."""

import subprocess
import sys

PROGRAM = """
import importlib, pathlib, sys
import k8sfromscratch
found = sorted(pathlib.Path(k8sfromscratch.__path__[0], "components").glob("*/config.py"))
for path in found:
    importlib.import_module(f"k8sfromscratch.components.{path.parent.name}.config")
print(len(found), *sorted({"aiohttp", "asyncio", "grpc", "uvloop"} & set(sys.modules)))
"""


def test_flags_bring_no_event_loop() -> None:
    count, *loops = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout.split()
    assert int(count) >= 8 and loops == []
