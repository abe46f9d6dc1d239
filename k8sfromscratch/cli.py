"""`kfs`: the cluster in one process, and a look at any cluster, from the command line.

kfs up [--data-dir D] [--port P] [--nodes N] [--token T]     serves until interrupted
kfs status [--kubeconfig K]                                  machines, components, leaders, certificates, pods; exits with 1 where something needs a look
kfs version
"""

import argparse
import asyncio
import os
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from k8sfromscratch import KUBERNETES_VERSION, __version__

if TYPE_CHECKING:
    from k8sfromscratch.status.gather import ClusterStatus

STARTED = time.monotonic()
"""As near to the process's start as Python lets us see."""


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    if arguments.command == "version":
        print(f"kfs {__version__}, Kubernetes {KUBERNETES_VERSION}")
        return 0
    return _status(arguments) if arguments.command == "status" else _up(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kfs", description="A complete Kubernetes in readable Python.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("version", help="print the versions")
    status = commands.add_parser("status", help="show a cluster at a glance; exits with 1 where something needs a look")
    status.add_argument("--kubeconfig", type=Path, help="of the cluster (default: $KUBECONFIG, else the lab's, else ~/.kube/config)")
    up = commands.add_parser("up", help="run a cluster in this process, with simulated nodes, until interrupted")
    up.add_argument("--data-dir", type=Path, help="keep the cluster's data and its kubeconfig here (default: in memory, gone at the end)")
    up.add_argument("--host", default="127.0.0.1", help="address to serve on (default: %(default)s)")
    up.add_argument("--port", type=_port, default=0, help="port to serve on (default: any free one)")
    up.add_argument("--nodes", type=_count, default=1, help="how many nodes to simulate (default: %(default)s)")
    up.add_argument("--token", help="the administrator's bearer token (default: a random one)")
    return parser


def _status(arguments: argparse.Namespace) -> int:
    try:
        from rich.console import Console

        from k8sfromscratch.status.view import draw
    except ImportError:
        print("kfs: status draws with rich: install k8sfromscratch[lab]", file=sys.stderr)
        return 2
    from k8sfromscratch.client.kubeconfig import KubeconfigError

    try:
        status = asyncio.run(_observed(arguments.kubeconfig or _usual_kubeconfig()))
    except KubeconfigError as error:
        print(f"kfs: {error}", file=sys.stderr)
        return 2
    # In a file or a pipe there is no width to keep to.
    draw(status, Console() if sys.stdout.isatty() else Console(width=200))
    return 0 if status.healthy else 1


async def _observed(kubeconfig: Path) -> "ClusterStatus":
    from k8sfromscratch.client import Client
    from k8sfromscratch.client.kubeconfig import load_kubeconfig, transport_for
    from k8sfromscratch.status.gather import observe

    access = load_kubeconfig(kubeconfig)
    certificate = access.cert_data or (Path(access.cert_files.cert_file).read_bytes() if access.cert_files else b"")
    client = Client(transport_for(access))
    try:
        # A deploy keeps its certificates beside the kubeconfig that it writes.
        pki = kubeconfig.parent / "pki"
        known = pki if (pki / "apiserver-etcd-client.key").exists() else None
        return await observe(client, access.server, datetime.now(UTC), client_certificate=certificate, pki=known)
    finally:
        await client.close()


def _usual_kubeconfig() -> Path:
    named = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    lab = Path(".lab/admin.kubeconfig")
    return Path(named) if named else lab if lab.exists() else Path.home() / ".kube" / "config"


def _up(arguments: argparse.Namespace) -> int:
    import uvloop

    from k8sfromscratch.process import logs

    logs.setup("WARNING")
    with ExitStack() as stack:
        folder = arguments.data_dir or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kfs-", ignore_cleanup_errors=True)))
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_serve(arguments, folder))
        except OSError as error:
            where = f": {error.filename}" if error.filename else ""
            print(f"kfs: the cluster cannot start: {error.strerror or error}{where}", file=sys.stderr)
            return 1
        except Exception as error:
            failure = of_the_store(error)
            if failure is None:
                raise
            print(f"kfs: the store failed: {failure}", file=sys.stderr)
            return 1
    return 0


def of_the_store(error: Exception) -> Exception | None:
    """What has failed, where it is nothing but the store."""
    from k8sfromscratch.storage.frames import WalError
    from k8sfromscratch.storage.interface import StorageError

    if isinstance(error, ExceptionGroup):
        found = [of_the_store(each) for each in error.exceptions]
        return found[0] if all(found) else None
    return error if isinstance(error, WalError | StorageError) else None


async def _serve(arguments: argparse.Namespace, folder: Path) -> None:
    from k8sfromscratch.embedded import Settings, cluster
    from k8sfromscratch.process.clock import Env

    stop = asyncio.Event()
    for which in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(which, stop.set)
    settings = Settings(
        folder.resolve(), arguments.token or secrets.token_urlsafe(24), arguments.data_dir is not None, arguments.host, arguments.port, arguments.nodes
    )
    async with cluster(settings, Env()) as running:
        print(f"ready in {time.monotonic() - STARTED:.2f} s: {running.server}")
        print(f"export KUBECONFIG={running.kubeconfig}", flush=True)
        await stop.wait()


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port")
    return int(text)


def _count(text: str) -> int:
    if not text.isdigit() or not 0 <= int(text) <= 256:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of nodes from 0 to 256")
    return int(text)


if __name__ == "__main__":
    raise SystemExit(main())
