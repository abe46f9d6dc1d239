"""The memory of a process that lives long and serves much: when Python looks for cycles, and when freed memory goes back to the kernel.

Python looks for cycles whenever 700 more objects were made than freed: a request makes a thousand, nearly all of which are freed by counting
references, so that looking took a twelfth of a create's time; and every full look walked through all that imports and schemas had made.

glibc gives a freed block of more than 128 KiB, or as much at the heap's end, back to the kernel at once, and the next answer of that size begins with
pages that must be cleared: a third of a Range of a hundred keys of 1 KiB.
"""

import ctypes
import gc

YOUNG_MAX = 50_000
"""Objects between two looks: a few MB of cycles at worst."""
OLDER_EVERY = 20
KEPT_BYTES = 32 * 1024**2
"""Freed memory that stays with the process; the most that glibc takes for M_MMAP_THRESHOLD."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def settle() -> None:
    """Called once a service has started: what is there now stays, and is not looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_MAX, OLDER_EVERY, OLDER_EVERY)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # glibc's; other C libraries have rules of their own
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, KEPT_BYTES)
