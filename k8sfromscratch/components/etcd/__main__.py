"""`python -m k8sfromscratch.components.etcd`"""

import logging
import os
import sys

from k8sfromscratch.components.etcd.app import run
from k8sfromscratch.components.etcd.config import EtcdFlags
from k8sfromscratch.components.etcd.environment import flags_of
from k8sfromscratch.process.clock import Env
from k8sfromscratch.process.flags import FlagError
from k8sfromscratch.process.service import run_service

LEVELS = {"warn": "WARNING", "panic": "CRITICAL", "fatal": "CRITICAL"}


def main() -> int:
    words = sys.argv[1:]
    warnings: list[str] = []
    if words not in (["--version"], ["version"]):
        try:
            flags, warnings = flags_of(words, os.environ)
        except FlagError as error:
            print(f"etcd: {error}", file=sys.stderr)
            return 2
        words = flags.argv()

    async def service(flags: EtcdFlags, env: Env) -> None:
        if flags.log_level != "info":
            logging.getLogger().setLevel(LEVELS.get(flags.log_level, flags.log_level.upper()))
        for warning in warnings:
            logging.getLogger(__name__).warning("%s", warning)
        await run(flags, env)

    return run_service("etcd", EtcdFlags, service, words)


if __name__ == "__main__":
    raise SystemExit(main())
