import base64
from pathlib import Path

import pytest
import yaml

from k8sfromscratch.client import KubeconfigError, kubeconfig, load_kubeconfig


def written(tmp_path: Path, **changes: object) -> Path:
    config: dict = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u", "namespace": "n"}}],
        "clusters": [{"name": "k", "cluster": {"server": "https://h:1", "certificate-authority": "ca.crt"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        **changes,
    }
    (tmp_path / "ca.crt").write_bytes(b"CA")
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(config))
    return path


def test_files_beside_it_and_inline_data(tmp_path: Path) -> None:
    access = load_kubeconfig(written(tmp_path))
    assert (access.server, access.ca_data, access.token, access.namespace) == ("https://h:1", b"CA", "t", "n")
    inline = {"name": "k", "cluster": {"server": "https://h:1", "certificate-authority-data": base64.b64encode(b"IN").decode()}}
    assert load_kubeconfig(written(tmp_path, clusters=[inline])).ca_data == b"IN"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"current-context": ""}, "no current-context"),
        ({"current-context": "x"}, "there is no context 'x'"),
        ({"clusters": []}, "there is no cluster 'k'"),
        ({"clusters": [{"name": "k", "cluster": {}}]}, "has no server"),
        ({"clusters": [{"name": "k", "cluster": {"server": "s", "certificate-authority": "none"}}]}, "cannot be read"),
        ({"clusters": [{"name": "k", "cluster": {"server": "s", "certificate-authority-data": "%%%"}}]}, "is not base64"),
        ({"users": [{"name": "u", "user": {"exec": {}}}]}, "'exec', which is not supported"),
        ({"users": [{"name": "u", "user": {"token": "t", "as": "someone"}}]}, "'as', which is not supported"),
        ({"users": [{"name": "u", "user": {"client-certificate": "c"}}]}, "only one of client-certificate and client-key"),
        ({"clusters": [{"name": "k", "cluster": {"server": "s", "proxy-url": "http://p"}}]}, "'proxy-url', which is not supported"),
    ],
)
def test_what_is_wrong_is_named_with_the_file(tmp_path: Path, changes: dict, said: str) -> None:
    path = written(tmp_path, **changes)
    with pytest.raises(KubeconfigError, match=said) as caught:
        load_kubeconfig(path)
    assert str(path) in str(caught.value)


def test_what_kubectl_writes_for_nothing_is_nothing(tmp_path: Path) -> None:
    access = load_kubeconfig(written(tmp_path, users=[{"name": "u", "user": {"exec": None, "username": "", "token": "t"}}]))
    assert access.token == "t" and access.cert_files is None


def test_a_pods_own_access_comes_from_its_service_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubeconfig, "SERVICE_ACCOUNT_DIR", tmp_path)
    with pytest.raises(KubeconfigError, match="not in a pod"):
        kubeconfig.in_cluster()
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    (tmp_path / "token").write_text("t\n")
    (tmp_path / "namespace").write_text("mine")
    access = kubeconfig.in_cluster()
    assert (access.server, access.namespace, access.token_file) == ("https://[fd00::1]:443", "mine", str(tmp_path / "token"))


def test_no_file_and_no_yaml(tmp_path: Path) -> None:
    with pytest.raises(KubeconfigError, match="cannot be read"):
        load_kubeconfig(tmp_path / "none")
    (tmp_path / "bad").write_text("{")
    with pytest.raises(KubeconfigError, match="is not YAML"):
        load_kubeconfig(tmp_path / "bad")
