"""`make lab` a second time: nothing changes and nothing restarts."""

import re
import subprocess
import sys

from k8sfromscratch.lab.spec import ROOT
from tests.lab.conftest import Lab


def pyinfra(lab: Lab, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pyinfra", lab.provider.inventory, "deploy.py", *words],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120 * lab.patience,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_dry_run_lists_no_host_with_a_change(lab: Lab) -> None:
    output = pyinfra(lab, "--dry")
    table = output[output.index("Detected changes") :]
    rows = re.findall(r"^ +(\S.*?) {2,}(-|\d+) +(-|\d+) *$", table, re.MULTILINE)
    assert len(rows) > 10, table
    assert {change for _, change, _ in rows} == {"-"}, table


def test_a_second_run_changes_nothing_and_restarts_nothing(lab: Lab) -> None:
    before = lab.invocations()
    masters, workers = len(lab.masters), len(lab.workers)
    balancers = workers if masters > 1 else 0
    assert len(before) == 4 * masters + 4 * (masters + workers) + balancers, sorted(before)
    output = pyinfra(lab, "-y")
    total = re.search(r"Grand total +(\d+) +(-|\d+) +(-|\d+) +(\d+)", output)
    assert total is not None, output
    ran, changed, failed, unchanged = total.groups()
    assert (changed, failed, unchanged) == ("-", "-", ran), output
    assert lab.invocations() == before
