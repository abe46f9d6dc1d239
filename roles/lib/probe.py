"""Runs on a machine: `probe.py [--within=SECONDS --every=SECONDS] UNIT CHECK [, UNIT CHECK]…` exits 0 if all that is asked for holds.

http URL [CA]                     it answers 200
node NAME                         the Node is Ready (read with the kubelet's own credentials)
dns SERVER NAME ADDRESS           SERVER says that NAME has ADDRESS
run COMMAND                       the command succeeds

With `--within` it waits until each does, one after the other, and ends with the last lines of the log of the unit that does not.  It waits
itself, since a machine that starts everything at once has no processor to spare for a program that starts ten times a second.
"""

import contextlib
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

KUBECONFIG = Path("/etc/kubernetes/kubelet.kubeconfig")
LOG_LINES = 40
DNS_PORT = 53
ANSWER_S = 5.0

Check = Callable[[], bool]


class Failed(Exception):
    """Something else than what was asked for was answered."""


def get(url: str, tls: Any) -> tuple[int, bytes]:
    from http.client import HTTPConnection, HTTPSConnection  # here and below: DNS is asked without them

    parts = urlsplit(url)
    host, port = str(parts.hostname), parts.port
    connection = HTTPSConnection(host, port, timeout=ANSWER_S, context=tls) if parts.scheme == "https" else HTTPConnection(host, port, timeout=ANSWER_S)
    with contextlib.closing(connection):
        connection.request("GET", parts.path)
        answer = connection.getresponse()
        return answer.status, answer.read()


def answers(url: str, ca: str = "") -> Check:
    tls = trusting(cafile=ca) if ca else None

    def check() -> bool:
        status, body = get(url, tls)
        if status != 200:
            raise Failed(f"{url}: {status} {body.decode(errors='replace').strip()[-300:]}")
        return True

    return check


def trusting(**authority: str) -> Any:
    import ssl

    return ssl.create_default_context(**authority)


def node_is_ready(name: str) -> Check:
    import base64
    import json
    import tempfile

    import yaml

    config = yaml.safe_load(KUBECONFIG.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    tls = trusting(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    with tempfile.NamedTemporaryFile() as pair:
        pair.write(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))
        pair.flush()
        tls.load_cert_chain(pair.name)

    def check() -> bool:
        status, body = get(f"{cluster['server']}/api/v1/nodes/{name}", tls)
        if status != 200:
            raise Failed(f"the apiserver answers {status}")
        conditions = {condition["type"]: condition for condition in json.loads(body)["status"].get("conditions", [])}
        ready = conditions.get("Ready", {"status": "Unknown", "message": "the kubelet has not told yet"})
        if ready["status"] != "True":
            raise Failed(f"node {name} is not Ready: {ready.get('message', '')}")
        return True

    return check


def dns_says(server: str, name: str, address: str) -> Check:
    """One A query over UDP (RFC 1035 §4.1); the wanted address must end the answer, where its one record's data is."""
    question = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0" + struct.pack("!HH", 1, 1)

    def check() -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(1)
            client.sendto(struct.pack("!HHHHHH", 4711, 0x0100, 1, 0, 0, 0) + question, (server, DNS_PORT))
            answer = client.recv(512)
        identifier, flags, _questions, answers = struct.unpack("!HHHH", answer[:8])
        return identifier == 4711 and flags & 0xF == 0 and answers == 1 and socket.inet_aton(address) in answer[12 + len(question) :]

    return check


def succeeds(*command: str) -> Check:
    def check() -> bool:
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
        if done.returncode != 0:
            raise Failed(done.stderr.strip()[-300:])
        return True

    return check


KINDS: dict[str, Callable[..., Check]] = {"http": answers, "node": node_is_ready, "dns": dns_says, "run": succeeds}


def wait(make: Callable[[], Check], until_s: float, every_s: float) -> str | None:
    """None once it holds; else, when the time is over, why it did not the last time.  What a check is made from may be missing at first too."""
    check: Check | None = None
    while True:
        try:
            check = check or make()
            if check():
                return None
            why = "another answer than the right one"
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
        if time.monotonic() + every_s > until_s:
            return why
        time.sleep(every_s)


def asked(words: list[str]) -> tuple[dict[str, str], list[tuple[str, list[str]]]]:
    """Options, and (unit, check) pairs."""
    options: dict[str, str] = {}
    while words and words[0].startswith("--"):
        name, _, value = words.pop(0).partition("=")
        options[name] = value
    found: list[list[str]] = [[]]
    for word in words:
        if word == ",":
            found.append([])
        else:
            found[-1].append(word)
    if any(len(one) < 3 or one[1] not in KINDS for one in found) or not options.keys() <= {"--within", "--every"}:
        raise SystemExit(__doc__)
    return options, [(unit, check) for unit, *check in found]


def main(argv: list[str]) -> int:
    options, checks = asked(list(argv))
    within_s, every_s = float(options.get("--within", 0)), float(options.get("--every", 1))
    until_s = time.monotonic() + within_s
    for unit, (kind, *arguments) in checks:
        why = wait(partial(KINDS[kind], *arguments), until_s, every_s)
        if why is None:
            continue
        if within_s:
            print(f"{unit} is not healthy after {within_s:g} s ({why}); its log ends:", flush=True)
            subprocess.run(["journalctl", "--no-pager", f"--lines={LOG_LINES}", f"--unit={unit}"], check=False)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
