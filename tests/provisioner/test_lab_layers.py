"""A tree that machines have in common stays while one of them is there, whichever lab it belongs to."""

from pathlib import Path

from k8sfromscratch.lab import layers


def test_a_used_tree_stays_until_its_machine_is_gone(tmp_path: Path) -> None:
    used, unused, present = (tmp_path / "trees" / name for name in ("used", "unused", "present"))
    for tree in (used, unused, present):
        tree.mkdir(parents=True)
    machine = tmp_path / "machine"
    machine.mkdir()
    layers.use(used, machine)
    layers.use(used, machine)
    layers.prune(tmp_path / "trees", (present,))
    assert (used.exists(), unused.exists(), present.exists()) == (True, False, True)
    machine.rmdir()
    layers.prune(tmp_path / "trees", (present,))
    assert sorted(path.name for path in (tmp_path / "trees").iterdir()) == ["present"]


def test_what_was_half_made_goes_and_other_patterns_stay(tmp_path: Path) -> None:
    for name in ("a-3.11-1.new", "a-3.11-2", "a-3.12-1"):
        (tmp_path / name).mkdir()
    layers.prune(tmp_path, (tmp_path / "a-3.11-2",), "*-3.11-*")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-3.11-2", "a-3.12-1"]
