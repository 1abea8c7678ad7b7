"""A run goes on with the images that it was begun on, and with no others."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.training.runs import Start, StartAndStop, assert_same_weights
from training.recipe import Recipe
from zoo.errors import ImageError, ProtozooError


def rename_a_class(data: Path) -> None:
    (data / "blue").rename(data / "white")


def add_a_class(data: Path) -> None:
    shutil.copytree(data / "blue", data / "black")


def remove_images(data: Path) -> None:
    for path in list((data / "blue").iterdir())[:10]:
        path.unlink()


def rename_images(data: Path) -> None:
    for path in (data / "blue").iterdir():
        path.rename(path.with_name(f"x{path.name}"))


def break_an_image(data: Path) -> None:
    (data / "blue" / "00.png").write_bytes(b"no image")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (rename_a_class, "the classes are others, without blue and with white"),
        (add_a_class, "the classes are others, with black"),
        (remove_images, "there were 48 images to train on, and now there are 40"),
        (rename_images, "some images have other names or other places"),
        (break_an_image, "there were 0 images left out that cannot be decoded, and now there are 1"),
    ],
)
def test_a_run_does_not_go_on_with_other_images(
    start: Start,
    tiny: Callable[..., Recipe],
    colours: Path,
    tmp_path: Path,
    start_and_stop: StartAndStop,
    change: Callable[[Path], None],
    told: str,
) -> None:
    data = Path(shutil.copytree(colours / "train", tmp_path / "data"))  # a fifth of which is held out
    start_and_stop(tiny(), tmp_path / "run", after=1, data=data)
    checkpoints = sorted((tmp_path / "run" / "checkpoints").iterdir())
    change(data)
    with pytest.raises(ProtozooError, match=rf"run holds a run on other images: {told}\. Put them back") as caught:
        start(tiny(), tmp_path / "run", data=data, on_bad_image="skip")
    assert "\n" not in str(caught.value)
    assert sorted((tmp_path / "run" / "checkpoints").iterdir()) == checkpoints


def test_a_run_of_before_images_were_noted_goes_on(
    start: Start, tiny: Callable[..., Recipe], tmp_path: Path, undisturbed: Path, start_and_stop: StartAndStop
) -> None:
    start_and_stop(tiny(), tmp_path / "run", after=1)
    (tmp_path / "run" / "data.json").unlink()
    start(tiny(), tmp_path / "run")
    assert_same_weights(tmp_path / "run", undisturbed)
    assert (tmp_path / "run" / "data.json").read_bytes() == (undisturbed / "data.json").read_bytes()


def test_a_run_that_a_bad_image_ended_before_its_first_checkpoint_goes_on_without_it(
    start: Start, tiny: Callable[..., Recipe], colours: Path, tmp_path: Path
) -> None:
    data, recipe = Path(shutil.copytree(colours, tmp_path / "data")), tiny(epochs=1, batch_size=60)
    break_an_image(data / "train")
    with pytest.raises(ImageError, match=r"blue/00\.png"):
        start(recipe, tmp_path / "run", data=data, storage="disk", workers=0)
    start(recipe, tmp_path / "run", data=data, on_bad_image="skip")
    kept = json.loads((tmp_path / "run" / "data.json").read_bytes())
    assert (kept["storage"], kept["train_images"], kept["skipped_images"]) == ("memory", 59, 1)


def test_resized_crops_are_resumed_from_where_the_images_were(
    start: Start, tiny: Callable[..., Recipe], tmp_path: Path, start_and_stop: StartAndStop
) -> None:
    recipe = tiny(augmentation="resized_crop", epochs=2)
    start_and_stop(recipe, tmp_path / "run", after=1, storage="disk")
    with pytest.raises(ProtozooError, match=r"storage = 'disk', not 'memory', .* give --storage disk to resume"):
        start(recipe, tmp_path / "run", storage="memory")
    start(recipe, tmp_path / "run", workers=0)
    start(recipe, tmp_path / "undisturbed", storage="disk", workers=0)
    assert_same_weights(tmp_path / "run", tmp_path / "undisturbed")
    start_and_stop(tiny(epochs=2), tmp_path / "whole", after=1, storage="disk")
    start(tiny(epochs=2), tmp_path / "whole", storage="memory")  # crops of the same pixels
    assert json.loads((tmp_path / "whole" / "data.json").read_bytes())["storage"] == "disk"
