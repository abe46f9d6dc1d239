"""Every recipe in images/ can be read; a wrong one is refused with the field."""

from pathlib import Path

import pytest

from k8sfromscratch.lab import images, node_image, shell
from k8sfromscratch.lab.errors import MissingTool, SpecError
from k8sfromscratch.lab.images import RECIPES, load_recipe


@pytest.mark.parametrize("file", sorted(RECIPES.glob("*.yaml")), ids=lambda file: file.stem)
def test_recipes_are_valid_and_fully_named(file: Path) -> None:
    recipe = load_recipe(file)
    registry, _, rest = recipe.reference.partition("/")
    assert "." in registry and ":" in rest
    assert recipe.packages


def test_an_image_that_changes_with_the_source_changes_its_name() -> None:
    for file in RECIPES.glob("*.yaml"):
        recipe = load_recipe(file)
        assert not recipe.wheels or "{hash}" in recipe.reference


def test_a_wrong_recipe_names_the_field(tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text("reference: docker.io/library/x:1\npackages: []\nentrypiont: [sh]\n")
    with pytest.raises(SpecError, match="entrypiont"):
        load_recipe(file)


def test_who_may_not_build_images_is_told_before_anything_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell.os, "geteuid", lambda: 1000)
    for module in (images, node_image):
        monkeypatch.setattr(module, "run", lambda *_words, **_more: pytest.fail("mmdebstrap's own refusal names no remedy"))
    with pytest.raises(MissingTool, match=r"building the container images \(mmdebstrap\) needs root: run it with sudo"):
        images._base(load_recipe(next(RECIPES.glob("*.yaml"))), tmp_path / "base")
    with pytest.raises(MissingTool, match=r"building a root file system \(mmdebstrap\) needs root: run it with sudo"):
        node_image.make_root("bookworm", tmp_path / "root", (), {}, "")
    assert list(tmp_path.iterdir()) == []
