"""pull, by the real huggingface_hub against a double of the Hub on loopback."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.export.hub_desk import contents, open_desk


@pytest.mark.parametrize("prefix", ["", "hf-hub:"])
def test_a_branch_a_tag_and_a_commit_are_pulled_as_they_are(desk, bundles, tmp_path, prefix):
    first = desk.hub.commit("owner/name", bundles[0])
    desk.hub.commit("owner/name", bundles[0], branch="try/it")
    desk.hub.commit("owner/name", bundles[1])
    repository = desk.hub.repositories["owner/name"]
    repository.refs["v1"] = first
    repository.tags.add("v1")
    expected = {"": bundles[1], "@main": bundles[1], "@try/it": bundles[0], "@v1": bundles[0], f"@{first}": bundles[0]}
    for number, (revision, bundle) in enumerate(expected.items()):
        said = desk.run("pull", f"{prefix}owner/name{revision}", "--out", tmp_path / str(number))
        assert f"of commit {repository.resolve(revision[1:] or 'main')}: 5 classes" in said
        assert contents(tmp_path / str(number)) == contents(bundle)


def test_offline_what_is_in_the_cache_is_pulled_and_the_rest_refused(desk, bundles, tmp_path):
    desk.hub.commit("owner/name", bundles[0])
    desk.run("pull", "owner/name", "--out", tmp_path / "online")
    cache = {"HF_HUB_CACHE": str(desk.home / "hub"), "HF_HUB_OFFLINE": "1"}
    with open_desk(tmp_path, desk.hub, **cache) as offline:
        offline.run("pull", "owner/name", "--out", tmp_path / "offline")
        said = offline.run("pull", "owner/other", "--out", tmp_path / "other", status=2)
    assert contents(tmp_path / "offline") == contents(bundles[0])
    assert "HF_HUB_OFFLINE forbids a download" in said
    assert not (tmp_path / "other").exists()


def test_a_download_that_breaks_off_leaves_nothing_and_the_next_pull_goes_on(desk, bundles, tmp_path):
    desk.hub.commit("owner/breaking", bundles[0])
    desk.hub.cuts = {"owner/breaking/model.safetensors": 99}
    said = desk.run("pull", "owner/breaking", "--out", tmp_path / "out", status=2)
    assert "could not be downloaded" in said
    assert list(tmp_path.iterdir()) == []
    desk.hub.cuts.clear()
    desk.run("pull", "owner/breaking", "--out", tmp_path / "out")
    assert contents(tmp_path / "out") == contents(bundles[0])


def test_a_folder_that_exists_is_not_written_into_and_nothing_is_asked_for(desk, bundles, tmp_path):
    desk.hub.commit("owner/name", bundles[0])
    (tmp_path / "out").mkdir()
    said = desk.run("pull", "owner/name", "--out", tmp_path / "out", status=2)
    assert "exists already: remove it or choose another folder" in said
    assert list((tmp_path / "out").iterdir()) == []
    assert desk.hub.requests == []


NOT_BUNDLES = {
    "plain": ({"config.json": b"{}", "model.safetensors": b""}, "SHA256SUMS is missing"),
    "pickles": ({"config.json": b"{}", "pytorch_model.bin": b"PK"}, "holds pickled weights"),
    "altered": ({"README.md": b"another"}, "README.md does not match SHA256SUMS"),
}


@pytest.mark.parametrize("kind", NOT_BUNDLES)
def test_what_is_no_whole_bundle_is_refused_and_leaves_nothing(desk, bundles, tmp_path, kind):
    files, message = NOT_BUNDLES[kind]
    desk.hub.commit("owner/name", {**contents(bundles[0]), **files} if kind == "altered" else files)
    assert message in desk.run("pull", "owner/name", "--out", tmp_path / "out", status=2)
    assert list(tmp_path.iterdir()) == []


REFUSED = {
    "owner/nothing": "there is no model 'owner/nothing' on the Hub",
    "owner/name@v9": "has no revision 'v9'",
    "owner/na--me": "does not name a model of the Hub",
    "name": "does not name a model of the Hub",
    "owner/name/more": "does not name a model of the Hub",
}


@pytest.mark.parametrize("spec", REFUSED)
def test_what_is_not_on_the_hub_is_said_in_one_line(desk, bundles, tmp_path: Path, spec):
    desk.hub.commit("owner/name", bundles[0])
    assert REFUSED[spec] in desk.run("pull", spec, "--out", tmp_path / "out", status=2)


def test_a_private_bundle_needs_the_token_and_no_token_is_shown(desk, bundles, tmp_path):
    desk.hub.commit("owner/name", bundles[0], access="private")
    desk.run("pull", "owner/name", "--out", tmp_path / "out")
    for token in ("", "hf_wrong", "hf_\x01" + "d" * 33):
        said = desk.run("pull", "owner/name@v1", "--out", tmp_path / "other", status=2, token=token)
        assert "hf auth login" in said
        assert "d" * 33 not in said
