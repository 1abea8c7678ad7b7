from __future__ import annotations

import pytest

from zoo.image_files import split_to_test, visible_files


def test_links_to_folders_are_followed_and_loops_end(tmp_path):
    elsewhere, birds = tmp_path / "elsewhere", tmp_path / "birds"
    for folder in (elsewhere, birds / "own"):
        folder.mkdir(parents=True)
        (folder / "a.png").touch()
    (birds / "session").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(birds)
    (birds / "own" / "loop").symlink_to(birds)
    assert visible_files(birds) == [birds / "own" / "a.png", birds / "session" / "a.png"]


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (["val/a", "test/a"], "test"),
        (["val/a", "test"], "val"),  # as competitions have it: what is in test/ has no labels
        (["val", "test"], "test"),
        (["train/a"], None),
    ],
)
def test_the_first_split_that_has_classes_is_the_one_to_test_on(tmp_path, folders, expected):
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    found = split_to_test(tmp_path)
    assert (found and found.name) == expected
