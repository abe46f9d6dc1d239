"""Hunts for what an etcd cluster of three promises and does not keep: `python -m k8sfromscratch.testing.etcd_checker --seed 7 --rounds 2 [--upstream]`.

Needs root, ip, nft and unshare.  Exits with 0 when all was right, with 1 and the reason when it was not.
"""

import argparse
import asyncio
import os
import sys
import time
from pathlib import Path

from k8sfromscratch.testing.etcd_checker import sandbox
from k8sfromscratch.testing.etcd_checker.nemesis import KINDS
from k8sfromscratch.testing.etcd_checker.replay import Fault
from k8sfromscratch.testing.etcd_checker.run import Options, run

MODULE = "k8sfromscratch.testing.etcd_checker"


def main() -> int:
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1, help="each has every kind of fault once")
    parser.add_argument("--upstream", action="store_true", help="the program etcd instead of ours")
    parser.add_argument("--pretend", action="store_true", help="take serializable reads for linearizable ones: this must be found out")
    parser.add_argument("--only", choices=KINDS, nargs="+", default=KINDS, help="these faults")
    parser.add_argument("--logs", type=Path, help="where the members' logs are left")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not args.inside:
        command = sandbox.isolated([sys.executable, "-m", MODULE, *sys.argv[1:], "--inside"])
        os.execvp(command[0], command)
    began = time.monotonic()
    try:
        history = asyncio.run(run(Options(args.seed, args.rounds, args.logs, args.upstream, args.pretend, args.only)))
    except Fault as fault:
        print(f"seed {args.seed}: FAULT: {fault}")
        return 1
    outcomes = [operation.outcome.value for operation in history.operations]
    counted = ", ".join(f"{outcomes.count(each)} {each}" for each in sorted(set(outcomes)))
    took = f"{len(history.leases)} leases, {time.monotonic() - began:.0f} s"
    print(f"seed {args.seed}: all is right: {len(outcomes)} operations ({counted}), revision {history.end_revision}, {took}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
