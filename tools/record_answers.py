"""Plays the corpus against a real kube-apiserver and writes down what it answers; run by hand where upstream's binary is.

    KFS_UPSTREAM_APISERVER=…/kube-apiserver python tools/record_answers.py [THEME …]

etcd and kube-apiserver (else from PATH) run on loopback on free ports, with TLS, static tokens, RBAC and the default admission; no controllers, so that only
requests change anything.  `answers/THEME.json` has a line a step.
"""

import http.client
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from k8sfromscratch.process import pki
from k8sfromscratch.testing.recorded import corpus
from k8sfromscratch.testing.recorded.corpus import HttpRequest, Scenario, Step
from k8sfromscratch.testing.recorded.facts import Facts, facts, saved

HERE = Path(__file__).resolve().parents[1] / "tests" / "recorded"
_START_S = 60.0
_ANSWER_S = 15.0


def main(themes: list[str]) -> None:
    scenarios = [one for one in corpus.load(HERE / "requests") if not themes or one.theme in themes]
    with tempfile.TemporaryDirectory() as directory, _upstream(Path(directory)) as port:
        answers: dict[str, dict[str, dict[str, Facts]]] = {}
        for scenario in scenarios:
            answers.setdefault(scenario.theme, {})[scenario.name] = _play(scenario, port)
    for theme, recorded in answers.items():
        (HERE / "answers" / f"{theme}.json").write_text(_lines(recorded))
        print(f"{theme}: {sum(map(len, recorded.values()))} answers")


def _play(scenario: Scenario, port: int) -> dict[str, Facts]:
    variables = {"ns": scenario.name}
    for step in scenario.preparation():
        status, _, body = _send(port, step.request(variables))
        assert status == 201, (scenario.id, step.name, body)
    recorded = {}
    for step in scenario.steps:
        request = step.request(variables)
        try:
            status, media_type, body = _send(port, _translated(scenario, request))
        except TimeoutError as error:
            raise SystemExit(f"{scenario.id}/{step.name}: no answer within {_ANSWER_S:.0f} s") from error
        body = scenario.from_upstream(body.decode(errors="replace")).encode()
        recorded[step.name] = facts(step, request, variables, status, media_type, body)
        variables |= saved(step, body)
    return recorded


def _translated(scenario: Scenario, request: HttpRequest) -> HttpRequest:
    if not scenario.upstream:
        return request
    body = scenario.for_upstream(request.body.decode()).encode()
    return HttpRequest(request.method, scenario.for_upstream(request.target), request.headers, body)


def _send(port: int, request: HttpRequest) -> tuple[int, str, bytes]:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=_ANSWER_S)
    try:
        connection.request(request.method, request.target, request.body or None, dict(request.headers))
        response = connection.getresponse()
        return response.status, response.headers.get("Content-Type", ""), response.read()
    except http.client.RemoteDisconnected:
        # A panic of upstream's ends the connection.
        return 0, "", b""
    finally:
        connection.close()


def _lines(recorded: dict[str, dict[str, Facts]]) -> str:
    """JSON with a line a step, so that a new recording shows what changed."""
    parts = []
    for scenario, steps in recorded.items():
        listed = ",\n".join(f"  {_json(name)}: {_json(one)}" for name, one in steps.items())
        parts.append(f"{_json(scenario)}: {{\n{listed}\n}}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


@contextmanager
def _upstream(directory: Path) -> Iterator[int]:
    etcd_port, peer_port, port = _free_ports(3)
    key = directory / "sa.key"
    # As SEC 1: upstream takes no elliptic key in PKCS #8.
    key.write_bytes(pki.make_key().private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    tokens = directory / "tokens.csv"
    tokens.write_text("".join(f"{name}-token,{name},{name}" + (f',"{",".join(groups)}"' if groups else "") + "\n" for name, groups in corpus.USERS.items()))
    etcd = [
        shutil.which("etcd") or "etcd", f"--data-dir={directory}/etcd", f"--listen-client-urls=http://127.0.0.1:{etcd_port}",
        f"--advertise-client-urls=http://127.0.0.1:{etcd_port}", f"--listen-peer-urls=http://127.0.0.1:{peer_port}",
        f"--initial-advertise-peer-urls=http://127.0.0.1:{peer_port}", f"--initial-cluster=default=http://127.0.0.1:{peer_port}",
    ]  # fmt: skip
    apiserver = [
        os.environ.get("KFS_UPSTREAM_APISERVER") or shutil.which("kube-apiserver") or "kube-apiserver",
        f"--etcd-servers=http://127.0.0.1:{etcd_port}", "--bind-address=127.0.0.1", f"--secure-port={port}", "--insecure-port=0",
        f"--cert-dir={directory}/certs", f"--token-auth-file={tokens}", "--authorization-mode=Node,RBAC",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local", f"--service-account-signing-key-file={key}",
        f"--service-account-key-file={key}", "--service-cluster-ip-range=10.96.0.0/12", "--allow-privileged=true",
        # As it has been by default since 1.21: accounts have no secrets, pods project a token.
        "--feature-gates=BoundServiceAccountTokenVolume=true",
    ]  # fmt: skip
    log = Path(os.environ.get("KFS_UPSTREAM_LOG") or directory / "log")
    with log.open("wb") as output:
        processes = [subprocess.Popen(command, stdout=output, stderr=output) for command in (etcd, apiserver)]
        try:
            _await_ready(port, log, processes)
            yield port
        finally:
            for process in reversed(processes):
                process.terminate()
                process.wait()


def _await_ready(port: int, log: Path, processes: list[subprocess.Popen[bytes]]) -> None:
    ready = Step("ready", "GET", "/readyz").request({})
    classes = Step("classes", "GET", "/apis/scheduling.k8s.io/v1/priorityclasses/system-node-critical").request({})
    end_s = time.monotonic() + _START_S
    while time.monotonic() < end_s and all(process.poll() is None for process in processes):
        try:
            if _send(port, ready)[0] == 200 and _send(port, classes)[0] == 200:
                return
        except OSError:
            pass
        time.sleep(0.5)
    raise SystemExit(f"kube-apiserver did not become ready:\n{log.read_text()[-3000:]}")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


if __name__ == "__main__":
    main(sys.argv[1:])
