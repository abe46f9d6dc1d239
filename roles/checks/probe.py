"""Runs on a machine: exits 0 if what is asked for holds.

probe.py node NAME                          the Node is Ready (read with the kubelet's own credentials)
probe.py dns SERVER NAME ADDRESS            SERVER says that NAME has ADDRESS
"""

import base64
import json
import socket
import ssl
import struct
import sys
import tempfile
import urllib.request
from pathlib import Path

import yaml

KUBECONFIG = Path("/etc/kubernetes/kubelet.kubeconfig")


def node_is_ready(name: str) -> bool:
    config = yaml.safe_load(KUBECONFIG.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    tls = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    with tempfile.NamedTemporaryFile() as pair:
        pair.write(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))
        pair.flush()
        tls.load_cert_chain(pair.name)
    with urllib.request.urlopen(f"{cluster['server']}/api/v1/nodes/{name}", context=tls, timeout=5) as answer:
        conditions = json.load(answer)["status"].get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def dns_says(server: str, name: str, address: str) -> bool:
    """One A query over UDP (RFC 1035 §4.1); the wanted address must end the answer, where its one record's data is."""
    question = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0" + struct.pack("!HH", 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(2)
        client.sendto(struct.pack("!HHHHHH", 4711, 0x0100, 1, 0, 0, 0) + question, (server, 53))
        answer = client.recv(512)
    identifier, flags, _questions, answers = struct.unpack("!HHHH", answer[:8])
    return identifier == 4711 and flags & 0xF == 0 and answers == 1 and socket.inet_aton(address) in answer[12 + len(question) :]


def main(argv: list[str]) -> int:
    match argv:
        case ["node", name]:
            return 0 if node_is_ready(name) else 1
        case ["dns", server, name, address]:
            return 0 if dns_says(server, name, address) else 1
        case _:
            print(__doc__, file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
