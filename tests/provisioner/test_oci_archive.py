"""OCI archives hold what their tree held, and the same tree gives the same bytes."""

import gzip
import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from k8sfromscratch.lab.oci import ImageConfig, make_layer, manifest_digest, write_archive


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "bin").mkdir(parents=True)
    (root / "bin/tool").write_text("#!/bin/sh\n")
    (root / "bin/tool").chmod(0o755)
    (root / "bin/alias").symlink_to("/bin/tool")
    os.link(root / "bin/tool", root / "bin/second")
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)
    return root


def blob(archive: Path, digest: str) -> bytes:
    with tarfile.open(archive) as tar:
        member = tar.extractfile("blobs/" + digest.replace(":", "/"))
        assert member is not None
        content = member.read()
    assert "sha256:" + hashlib.sha256(content).hexdigest() == digest
    return content


def manifest_of(archive: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    with tarfile.open(archive) as tar:
        index = json.load(tar.extractfile("index.json"))  # type: ignore[arg-type]
    descriptor = index["manifests"][0]
    return descriptor, json.loads(blob(archive, descriptor["digest"]))


def test_manifest_config_and_layer_fit_together(tree: Path, tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    write_archive(
        archive,
        "docker.io/library/tool:1",
        [make_layer(tree, tmp_path / "layer.tar.gz")],
        ImageConfig(entrypoint=["/bin/tool"], env={"PATH": "/bin"}, user="65534"),
    )
    descriptor, manifest = manifest_of(archive)
    assert descriptor["annotations"]["io.containerd.image.name"] == "docker.io/library/tool:1"
    assert manifest_digest(archive) == descriptor["digest"]
    config = json.loads(blob(archive, manifest["config"]["digest"]))
    assert config["config"]["Entrypoint"] == ["/bin/tool"]
    assert config["config"]["Env"] == ["PATH=/bin"]
    assert config["config"]["User"] == "65534"
    (layer,) = manifest["layers"]
    plain = gzip.decompress(blob(archive, layer["digest"]))
    assert config["rootfs"]["diff_ids"] == ["sha256:" + hashlib.sha256(plain).hexdigest()]


def test_layers_keep_modes_and_links_and_drop_owners_and_times(tree: Path, tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    write_archive(archive, "tool", [make_layer(tree, tmp_path / "layer.tar.gz")], ImageConfig())
    _, manifest = manifest_of(archive)
    plain = gzip.decompress(blob(archive, manifest["layers"][0]["digest"]))
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        members = {member.name: member for member in tar}
        second = tar.extractfile("bin/second")
        assert second is not None and second.read() == b"#!/bin/sh\n", "hard links are stored as files"
    assert members["bin/tool"].mode & 0o777 == 0o755
    assert members["tmp"].mode & 0o7777 == 0o1777
    assert members["bin/alias"].linkname == "/bin/tool"
    assert {(member.uid, member.gid, member.mtime) for member in members.values()} == {(0, 0, 0)}


def test_the_same_tree_gives_the_same_bytes(tree: Path, tmp_path: Path) -> None:
    def digest(name: str) -> str:
        write_archive(tmp_path / f"{name}.tar", "tool", [make_layer(tree, tmp_path / f"{name}.tar.gz")], ImageConfig())
        return manifest_digest(tmp_path / f"{name}.tar")

    first = digest("first")
    os.utime(tree / "bin/tool", (1, 1))
    assert digest("second") == first
    (tree / "bin/tool").write_text("#!/bin/sh\nexit 1\n")
    assert digest("third") != first


def test_a_layer_is_made_once(tree: Path, tmp_path: Path) -> None:
    """Its file is named by what the tree is made from: if it is there, the tree need not be."""
    made = make_layer(tree, tmp_path / "layer.tar.gz")
    assert make_layer(tmp_path / "no-tree", tmp_path / "layer.tar.gz") == made
