"""push, by the real huggingface_hub against a double of the Hub on loopback."""

from __future__ import annotations

import pytest

from tests.export.hub_desk import contents, open_desk
from tests.hub_double import LFS, READER
from tests.tiny_bundle import make_tiny_bundle
from zoo.bundle import Bundle


def uploads(requests: list[str]) -> set[str]:
    return {request.rpartition("/")[2] for request in requests if request.startswith("PUT ")}


def test_a_push_makes_the_repository_and_one_commit_which_pull_and_python_give_back(desk, bundles, tmp_path):
    said = desk.run("push", bundles[0], "owner/name", "--message", "The first")
    repository = desk.hub.repositories["owner/name"]
    commit = repository.refs["main"]
    assert desk.hub.files("owner/name") == {".gitattributes": b"*.onnx filter=lfs", **contents(bundles[0])}
    assert (len(repository.commits), repository.access, desk.hub.messages) == (2, "public", ["The first"])
    assert f"owner/name (public) holds proto_tiny.nonl_tiny at commit {commit}" in said
    assert f"hf-hub:owner/name@{commit}" in said
    pulled = desk.run("pull", "owner/name", "--out", tmp_path / "out", token="")
    assert f"proto_tiny.nonl_tiny of commit {commit}" in pulled
    assert contents(tmp_path / "out") == contents(bundles[0])
    assert not any(path.is_symlink() for path in (tmp_path / "out").iterdir())
    Bundle.open(tmp_path / "out")


def test_what_is_unchanged_is_not_sent_and_makes_no_commit(desk, bundles):
    commit = desk.hub.commit("owner/name", bundles[0])
    said = desk.run("push", bundles[0], "hf-hub:owner/name")
    assert "unchanged: nothing was sent" in said
    assert f"at commit {commit}" in said
    assert desk.hub.writes == []


def test_a_changed_bundle_replaces_deletes_its_own_old_files_and_leaves_those_of_others(desk, bundles):
    others = {".gitattributes": b"", "pictures/plot.png": b"png", "NOTES.md": b"by hand"}
    desk.hub.commit("owner/name", {**contents(bundles[0]), **others})
    desk.run("push", bundles[1], "owner/name")
    assert desk.hub.files("owner/name") == {**contents(bundles[1]), **others}
    changed = {name for name, data in contents(bundles[1]).items() if contents(bundles[0])[name] != data}
    assert "README.md" not in changed
    assert len(uploads(desk.hub.requests)) == len([name for name in changed if name.endswith(LFS)])
    assert len([request for request in desk.hub.writes if "/commit/" in request]) == 1


def test_a_dry_run_tells_what_a_push_would_do_and_only_reads(desk, bundles):
    parent = desk.hub.commit("owner/name", bundles[0], access="private")
    said = desk.run("push", bundles[1], "owner/name", "--dry-run")
    assert f"owner/name (private), branch main, on top of commit {parent}" in said
    size = (bundles[1] / "model.onnx").stat().st_size
    assert [line for line in said.splitlines() if line.split() == ["send", f"{size:,}", "bytes", "model.onnx"]]
    assert [line for line in said.splitlines() if line.split() == ["delete", "notes.txt"]]
    assert "README.md" not in said
    assert "1 to delete" in said
    said = desk.run("push", bundles[1], "owner/new", "--private", "--dry-run")
    assert "owner/new (private), a new repository, branch main" in said
    total = sum(map(len, contents(bundles[1]).values()))
    assert f"{len(contents(bundles[1]))} files to send, {total:,} bytes; 0 to delete" in said
    assert desk.hub.writes == []
    assert list(desk.hub.repositories) == ["owner/name"]


def test_what_somebody_else_commits_between_look_and_commit_stands(desk, bundles):
    desk.hub.commit("owner/name", bundles[0])
    theirs = {"README.md": b"another's"}

    def intrude(request: str) -> None:
        if request == "POST /api/models/owner/name/commit/main":
            desk.hub.commit("owner/name", theirs)

    desk.hub.before = intrude
    said = desk.run("push", bundles[1], "owner/name", status=2)
    assert "somebody has changed owner/name@main since it was looked at: nothing was committed" in said
    assert "push again" in said
    assert desk.hub.files("owner/name") == theirs
    desk.hub.before = lambda request: None
    desk.run("push", bundles[1], "owner/name")
    assert desk.hub.files("owner/name") == contents(bundles[1])


def test_a_repository_that_somebody_else_makes_at_the_same_time_is_not_written_to(desk, bundles):
    theirs = {"README.md": b"another's"}
    desk.hub.before = lambda request: request.endswith("repos/create") and desk.hub.commit("owner/name", theirs)
    assert "somebody has changed owner/name@main" in desk.run("push", bundles[1], "owner/name", status=2)
    assert desk.hub.files("owner/name") == theirs


def test_a_push_that_breaks_off_commits_nothing_and_the_next_sends_only_the_rest(desk, bundles):
    sha256 = Bundle.open(bundles[0]).sha256
    large = {digest for name, digest in sha256.items() if name.endswith(LFS)}
    broken = {sha256["model.onnx"], sha256["model.safetensors"]}
    desk.hub.cuts = dict.fromkeys(broken, 99)
    said = desk.run("push", bundles[0], "owner/name", status=2)
    assert "the push to owner/name@main broke off" in said
    assert "push again, what has arrived is not sent again" in said
    assert "X-Signature" not in said
    assert set(desk.hub.files("owner/name")) == {".gitattributes"}
    assert set(desk.hub.objects) == large - broken
    desk.hub.requests.clear()
    desk.hub.cuts.clear()
    desk.run("push", bundles[0], "owner/name")
    assert uploads(desk.hub.requests) == broken
    assert desk.hub.files("owner/name") == {".gitattributes": b"*.onnx filter=lfs", **contents(bundles[0])}


def test_a_connection_that_breaks_once_is_tried_again(desk, bundles):
    desk.hub.cuts = {Bundle.open(bundles[0]).sha256["model.onnx"]: 1}
    desk.run("push", bundles[0], "owner/name")
    assert desk.hub.files("owner/name").keys() >= contents(bundles[0]).keys()


def test_a_commit_whose_answer_was_lost_is_found_by_the_next_push(desk, bundles):
    desk.hub.commit("owner/name", {".gitattributes": b""})
    desk.hub.lost = 1
    assert "broke off" in desk.run("push", bundles[0], "owner/name", status=2)
    assert "unchanged: nothing was sent" in desk.run("push", bundles[0], "owner/name")
    assert len(desk.hub.messages) == 1


def test_private_is_an_option_of_a_new_repository_and_never_a_silent_change_of_an_old_one(desk, bundles):
    assert "owner/mine (private) holds" in desk.run("push", bundles[0], "owner/mine", "--private")
    assert desk.hub.repositories["owner/mine"].access == "private"
    desk.hub.requests.clear()
    said = desk.run("push", bundles[1], "owner/mine", "--public", status=2)
    assert "owner/mine is private: leave --public out, or make it public in its settings first" in said
    assert desk.hub.writes == []
    assert "owner/mine (private) holds" in desk.run("push", bundles[1], "owner/mine")


def test_a_branch_that_does_not_exist_is_made_from_main_and_main_stays(desk, bundles):
    main = desk.hub.commit("owner/name", bundles[0])
    assert "a new branch try/it, on top of commit" in desk.run("push", bundles[1], "owner/name", "--revision", "try/it")
    assert desk.hub.repositories["owner/name"].refs["main"] == main
    assert desk.hub.files("owner/name", "try/it") == contents(bundles[1])
    desk.run("push", bundles[0], "owner/name", "--revision", "try/it")
    assert desk.hub.files("owner/name", "try/it") == contents(bundles[0])


@pytest.mark.parametrize("revision", ["v1", "0" * 40, "refs/pr/1"])
def test_what_is_not_a_branch_is_not_pushed_to(desk, bundles, revision):
    repository = desk.hub.commit("owner/name", bundles[0]) and desk.hub.repositories["owner/name"]
    repository.refs["v1"] = repository.refs["main"]
    repository.tags.add("v1")
    said = desk.run("push", bundles[1], "owner/name", "--revision", revision, status=2)
    assert f"{revision!r} is not a branch of owner/name" in said
    assert desk.hub.writes == []


TOKENS = {
    "none": ("", "a push needs a token that may write: `hf auth login`"),
    "wrong": ("hf_" + "c" * 34, "the Hub does not know the token"),
    "reader": (READER, "the token may not write to owner/name@main"),
    "unprintable": ("hf_\x01" + "d" * 33, "the token of the Hub holds characters that no token has"),
}


@pytest.mark.parametrize("kind", TOKENS)
@pytest.mark.parametrize("name", ["owner/name", "owner/new"])
def test_a_token_that_will_not_do_is_refused_with_what_to_do_and_never_shown(desk, bundles, kind, name):
    commit = desk.hub.commit("owner/name", bundles[0])
    token, message = TOKENS[kind]
    said = desk.run("push", bundles[1], name, status=2, token=token)
    assert message.replace("owner/name", name) in said
    assert token[4:] not in said or not token
    assert desk.hub.repositories["owner/name"].refs["main"] == commit
    assert list(desk.hub.repositories) == ["owner/name"]


@pytest.mark.parametrize(
    "name", ["name", "datasets/owner/name", "owner/name@main", "owner/na--me", "https://hf.co/a/b"]
)
def test_a_name_that_no_model_can_have_is_refused_before_any_request(desk, bundles, tmp_path, name):
    assert "does not name a model of the Hub" in desk.run("push", bundles[0], name, status=2)
    assert desk.hub.requests == []


def test_only_whole_bundles_are_pushed(desk, bundles, tmp_path):
    damaged = make_tiny_bundle(tmp_path / "damaged").path
    (damaged / "README.md").write_text("edited by hand")
    said = desk.run("push", damaged, "owner/name", status=2)
    assert "README.md does not match SHA256SUMS" in said
    assert desk.hub.requests == []


def test_a_repository_whose_sums_are_not_a_bundles_is_left_alone(desk, bundles):
    desk.hub.commit("owner/name", {"SHA256SUMS": b"0  ../secrets\n"})
    assert "has a file SHA256SUMS that is not a bundle's" in desk.run("push", bundles[0], "owner/name", status=2)
    assert desk.hub.writes == []


def test_a_commit_that_lacks_a_file_is_not_called_done(desk, bundles):
    desk.hub.commit("owner/name", {".gitignore": b"model.onnx"})
    said = desk.run("push", bundles[0], "owner/name", status=2)
    assert "does not hold model.onnx as the bundle does: see whether a .gitignore" in said


def test_without_a_network_or_offline_a_push_says_so(desk, bundles, tmp_path):
    with open_desk(tmp_path, desk.hub, HF_HUB_OFFLINE="1") as offline:
        said = offline.run("push", bundles[0], "owner/name", status=2)
    assert said == "protozoo: HF_HUB_OFFLINE forbids to push: unset it"
    with open_desk(tmp_path, desk.hub, HF_ENDPOINT="http://127.0.0.1:9") as alone:
        said = alone.run("push", bundles[0], "owner/name", status=2)
    assert "broke off (ConnectError" in said
    assert "check the network" in said
