"""What machines get of the store of images: the same files, but databases of their own."""

from pathlib import Path

import pytest

from k8sfromscratch.lab import image_store
from k8sfromscratch.lab.images import Image


@pytest.fixture
def store(tmp_path: Path) -> Path:
    store = tmp_path / "store"
    for name, text in (
        ("io.containerd.content.v1.content/blobs/sha256/1", "blob"),
        ("io.containerd.metadata.v1.bolt/meta.db", "images"),
        ("io.containerd.snapshotter.v1.overlayfs/metadata.db", "snapshots"),
        ("io.containerd.snapshotter.v1.overlayfs/snapshots/1/fs/etc/passwd", "root"),
    ):
        (store / name).parent.mkdir(parents=True)
        (store / name).write_text(text)
    return store


def test_what_is_never_written_to_is_linked_and_databases_are_copied(store: Path, tmp_path: Path) -> None:
    machine = tmp_path / "machine"
    machine.mkdir()
    image_store.give(store, machine)
    files = [file.relative_to(store) for file in store.rglob("*") if file.is_file()]
    assert {str(file.name) for file in files if not (machine / file).samefile(store / file)} == {"meta.db", "metadata.db"}
    assert all((machine / file).read_bytes() == (store / file).read_bytes() for file in files)


def test_one_machines_containerd_is_not_anothers(store: Path, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for machine in (one, other):
        machine.mkdir()
        image_store.give(store, machine)
    database = Path("io.containerd.metadata.v1.bolt/meta.db")
    with (one / database).open("r+") as file:
        file.write("IMAGES")
    assert (other / database).read_text() == (store / database).read_text() == "images"


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What would have been run, each time leaving a store as containerd does."""
    ran: list[list[str]] = []

    def run(argv: list[object], **_: object) -> str:
        words = [str(word) for word in argv]
        ran.append(words)
        store = next(Path(word) for word in words if word.endswith("/store"))
        for part in (*image_store.KEPT, "io.containerd.grpc.v1.introspection"):
            (store / part).mkdir()
        return ""

    monkeypatch.setattr(image_store, "run", run)
    monkeypatch.setattr(image_store, "CACHE_DIR", tmp_path)
    return ran


def test_a_store_is_made_once_for_its_images_and_without_an_identity(made: list[list[str]], tmp_path: Path) -> None:
    images = [Image("pause", "registry.k8s.io/pause:3.10", tmp_path / "shipped" / "pause-1.tar", "sha256:1")]
    store = image_store.ensure(tmp_path / "node-image", images)
    assert image_store.ensure(tmp_path / "node-image", images) == store
    (words,) = made
    assert words[-2:] == [str(tmp_path / "shipped"), "pause-1.tar"]
    assert {part.name for part in store.iterdir()} == set(image_store.KEPT)


def test_changed_images_make_another_store_and_the_old_one_goes(made: list[list[str]], tmp_path: Path) -> None:
    def store_of(digest: str) -> Path:
        return image_store.ensure(tmp_path / "node-image", [Image("pause", "registry.k8s.io/pause:3.10", tmp_path / "pause.tar", digest)])

    first = store_of("sha256:1")
    second = store_of("sha256:2")
    assert len(made) == 2 and list((tmp_path / "containerd").iterdir()) == [second] != [first]
