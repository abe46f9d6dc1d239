"""What `memory.settle` does to a process, in one of its own."""

import ctypes
import subprocess
import sys

import pytest

FAULTS = """
import gc, resource, sys
from k8sfromscratch.process import memory
if sys.argv[1] == "settled":
    memory.settle()
    memory.settle()  # a service does it again when its data has come
    assert gc.get_freeze_count() > 0 and gc.get_threshold()[0] == memory.YOUNG_MAX
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    bytes(1024 * 1024)
    bytearray(b"x" * 1024 * 1024)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    return int(subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True).stdout)


def test_a_large_answer_after_another_takes_no_new_pages() -> None:
    if not hasattr(ctypes.CDLL(None), "mallopt"):
        pytest.skip("glibc's allocator: this C library has another")
    assert faults("settled") < 2000 < 20_000 < faults("as it comes")
