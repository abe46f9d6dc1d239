"""Runs on a master: `apply.py [--check] MANIFESTS…` creates or updates objects of YAML files; `--check` only names those that differ.

An object carries a hash of its manifest as an annotation, so "does it differ" is one GET and does not depend on defaults that the
apiserver fills in.  What is already as written is not touched.  Needs nothing but PyYAML and the master's admin.conf.
"""

import base64
import hashlib
import json
import ssl
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

KUBECONFIG = Path("/etc/kubernetes/admin.conf")
ANNOTATION = "k8sfromscratch.io/manifest-hash"


class Api:
    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self._server = cluster["server"]
        self._tls = ssl.create_default_context(cadata=_decoded(cluster["certificate-authority-data"]))
        with tempfile.NamedTemporaryFile("w") as pair:
            pair.write(_decoded(user["client-certificate-data"]) + _decoded(user["client-key-data"]))
            pair.flush()
            self._tls.load_cert_chain(pair.name)
        self._plurals: dict[tuple[str, str], tuple[str, bool]] = {}

    def request(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Any:
        """The answer's JSON; None for 404.  Other failures end the program with what the apiserver said."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._server + path, data=data, method=method, headers={"Content-Type": content_type})
        try:
            with urllib.request.urlopen(request, context=self._tls, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise SystemExit(f"{method} {path}: {error.code} {error.read().decode(errors='replace')}") from error

    def collection(self, manifest: Mapping[str, Any]) -> str:
        """The path that objects of this kind live below, from discovery."""
        version, kind = manifest["apiVersion"], manifest["kind"]
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        if (version, kind) not in self._plurals:
            for resource in (self.request("GET", root) or {"resources": []})["resources"]:
                if "/" not in resource["name"]:
                    self._plurals[version, resource["kind"]] = resource["name"], resource["namespaced"]
        if (version, kind) not in self._plurals:
            raise SystemExit(f"the apiserver serves no {kind} of {version}")
        plural, namespaced = self._plurals[version, kind]
        namespace = f"/namespaces/{manifest['metadata'].get('namespace', 'default')}" if namespaced else ""
        return f"{root}{namespace}/{plural}"


def main(argv: list[str]) -> None:
    check = "--check" in argv
    api = Api(KUBECONFIG)
    files = [word for word in argv if word != "--check"]
    for manifest in (manifest for file in files for manifest in yaml.safe_load_all(Path(file).read_text())):
        digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()[:16]
        manifest["metadata"].setdefault("annotations", {})[ANNOTATION] = digest
        collection, name = api.collection(manifest), manifest["metadata"]["name"]
        live = api.request("GET", f"{collection}/{name}")
        if live is not None and live["metadata"].get("annotations", {}).get(ANNOTATION) == digest:
            continue
        print(f"{manifest['kind']}/{name}")
        if check:
            continue
        if live is None:
            api.request("POST", collection, manifest)
        else:
            # Lists are replaced as a whole: merging ports by number would mix up DNS's UDP and TCP ports.
            api.request("PATCH", f"{collection}/{name}", manifest, "application/merge-patch+json")


def _decoded(text: str) -> str:
    return base64.b64decode(text).decode()


if __name__ == "__main__":
    main(sys.argv[1:])
