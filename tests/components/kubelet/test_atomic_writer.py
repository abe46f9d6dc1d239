import os

from k8sfromscratch.components.kubelet.atomic_writer import write_files
from k8sfromscratch.core.pods.volumes import File


def contents(volume) -> dict[str, bytes]:
    return {name: (volume / name).read_bytes() for name in os.listdir(volume) if not name.startswith("..") and (volume / name).is_file()}


def test_files_appear_under_their_names_with_their_modes(tmp_path):
    assert write_files(tmp_path, {"a": File(b"1", 0o640), "dir/b": File(b"2", 0o400)})
    assert (tmp_path / "a").read_bytes() == b"1"
    assert (tmp_path / "dir" / "b").read_bytes() == b"2"
    assert [oct((tmp_path / name).stat().st_mode & 0o777) for name in ("a", "dir/b")] == ["0o640", "0o400"]
    assert os.readlink(tmp_path / "a") == "..data/a"


def test_an_update_swaps_all_files_by_one_link(tmp_path):
    write_files(tmp_path, {"a": File(b"1", 0o644), "old": File(b"x", 0o644)})
    before = os.readlink(tmp_path / "..data")
    with (tmp_path / "a").open("rb") as held:
        assert write_files(tmp_path, {"a": File(b"2", 0o644), "new": File(b"y", 0o644)})
        assert held.read() == b"1"
    assert os.readlink(tmp_path / "..data") != before
    assert contents(tmp_path) == {"a": b"2", "new": b"y"}
    assert len([n for n in os.listdir(tmp_path) if n.startswith("..")]) == 2


def test_nothing_is_touched_when_nothing_changed(tmp_path):
    files = {"a": File(b"1", 0o644)}
    write_files(tmp_path, files)
    before = os.readlink(tmp_path / "..data")
    assert not write_files(tmp_path, files)
    assert os.readlink(tmp_path / "..data") == before


def test_an_update_that_was_cut_short_is_completed(tmp_path):
    write_files(tmp_path, {"a": File(b"1", 0o644)})
    (tmp_path / "a").unlink()
    (tmp_path / "..data_tmp").symlink_to("nowhere")
    write_files(tmp_path, {"a": File(b"1", 0o644)})
    assert contents(tmp_path) == {"a": b"1"}
    write_files(tmp_path, {"a": File(b"2", 0o644)})
    assert contents(tmp_path) == {"a": b"2"}


def test_the_pods_group_may_read_what_the_owner_may(tmp_path):
    write_files(tmp_path, {"a": File(b"1", 0o400)}, owner_gid=os.getgid())
    found = (tmp_path / "a").stat()
    assert (oct(found.st_mode & 0o777), found.st_gid) == ("0o440", os.getgid())
