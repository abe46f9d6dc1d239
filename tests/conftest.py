"""What every test may ask of the machine it runs on.

A test that needs root, a program or a running lab says so through `needs`.  Where the machine lacks it the test is skipped with the
reason; with KFS_REQUIRE=all (CI) a lack is a failure, so that nothing is skipped unseen.
"""

import os
import shutil
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings

# An example takes as long as the machine lets it: by itself Hypothesis calls one that took 200 ms a failure.  The same examples are drawn each time,
# so that what is in a change decides whether it passes; with KFS_FUZZ=all they are drawn anew.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=os.environ.get("KFS_FUZZ") != "all", print_blob=True
)
settings.load_profile("any machine")


def skip_or_fail(reason: str) -> None:
    """Ends the calling test: as skipped, or as failed where everything is required."""
    if os.environ.get("KFS_REQUIRE") == "all":
        pytest.fail(f"KFS_REQUIRE=all, and this machine lacks: {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def needs() -> Callable[..., None]:
    """`needs("etcdctl", "containerd", root=True)`: programs on PATH, and whether root is needed."""

    def check(*programs: str, root: bool = False) -> None:
        if root and os.geteuid() != 0:
            skip_or_fail("root")
        for program in programs:
            if shutil.which(program) is None:
                skip_or_fail(f"the program {program!r}")

    return check
