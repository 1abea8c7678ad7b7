"""Bundles of the Hub, by the real huggingface_hub, in subprocesses, against a double of the Hub on loopback."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub_double import TOKEN, HubDouble, environment, running_hub
from tests.tiny_bundle import edit_config, make_tiny_bundle, resign
from zoo.bundle import FILES, Bundle, BundleError

FIND = """
import json, os, sys, warnings
from zoo.bundle import Bundle, ProtozooError, find
answers = []
for argument in sys.argv[1:]:
    os.environ["HF_TOKEN"], _, spec = argument.rpartition(" ")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            answers.append(["found", str(Bundle.open(find(spec)).path)])
        except ProtozooError as error:
            answers.append([type(error).__name__, str(error)])
        answers[-1] += [str(warning.message) for warning in caught]
loaded = sorted({"torch", "timm"} & set(sys.modules))
print(json.dumps([loaded, answers]))
"""


def ask(hub: HubDouble, home: Path, *specs: str, **others: str) -> list[list[str]]:
    """For each spec, before which a token may stand, [kind of answer, folder or message, *warnings]."""
    done = subprocess.run(
        [sys.executable, "-c", FIND, *specs],
        capture_output=True,
        text=True,
        check=False,
        env=environment(hub, home, **others),
    )
    assert done.returncode == 0, done.stderr
    loaded, answers = json.loads(done.stdout)
    assert loaded == []
    return answers


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[HubDouble, Path, dict[str, str]]]:
    """A hub, a cache into which four revisions of one repository were loaded, and the commit of each."""
    tmp_path = tmp_path_factory.mktemp("hub")
    bundles = [make_tiny_bundle(tmp_path / f"bundle{seed}", seed=seed).path for seed in range(3)]
    (bundles[0] / "checkpoint.pth").write_bytes(b"a large pickle that is no part of the bundle")
    with running_hub() as hub:
        commits = {"": hub.commit("owner/name", bundles[0])}
        commits["@try/it"] = hub.commit("owner/name", bundles[1], branch="try/it")
        first = hub.commit("owner/name", bundles[2], branch="old")
        commits["@v1"] = commits["@" + first] = first
        hub.repositories["owner/name"].refs["v1"] = hub.repositories["owner/name"].refs.pop("old")
        answers = ask(hub, tmp_path / "home", *(f"hf-hub:owner/name{at}" for at in commits))
        assert [kind for kind, *_ in answers] == ["found"] * 4, answers
        assert [Path(folder).name for _, folder in answers] == list(commits.values())
        yield hub, tmp_path / "home", commits


def test_only_what_the_bundle_lists_is_fetched_and_of_one_commit(loaded):
    hub, _, commits = loaded
    fetched = [request.split("/", maxsplit=5)[4:] for request in hub.requests if request.startswith("GET /owner")]
    assert {commit for commit, _ in fetched} == set(commits.values())
    assert {name for _, name in fetched} == {*FILES, "SHA256SUMS"}


def test_what_is_cached_costs_a_branch_one_request_and_a_commit_none(loaded):
    hub, home, commits = loaded
    hub.requests.clear()
    found = ask(hub, home, "hf-hub:owner/name", f"hf-hub:owner/name@{commits['@v1']}")
    assert [Path(folder).name for _, folder in found] == [commits[""], commits["@v1"]]
    assert hub.requests == ["HEAD /owner/name/resolve/main/SHA256SUMS"]


def test_offline_the_cache_answers_without_a_request(loaded):
    hub, home, commits = loaded
    hub.requests.clear()
    specs = [f"hf-hub:owner/name{at}" for at in commits]
    *found, absent, unknown = ask(hub, home, *specs, "hf-hub:owner/other", "hf-hub:owner/name@v2", HF_HUB_OFFLINE="1")
    assert [Path(folder).name for _, folder in found] == list(commits.values())
    for kind, message in (absent, unknown):
        assert kind == "BundleError"
        assert "HF_HUB_OFFLINE forbids a download: unset it" in message
    assert hub.requests == []


def test_without_a_network_the_cache_answers_with_a_warning_and_the_rest_is_refused_at_once(loaded):
    hub, home, commits = loaded
    branch, commit, absent = ask(
        hub,
        home,
        "hf-hub:owner/name",
        f"hf-hub:owner/name@{commits['@v1']}",
        f"hf-hub:owner/other@{'0' * 40}",
        HF_ENDPOINT="http://127.0.0.1:9",
    )
    assert Path(branch[1]).name == commits[""]
    assert "the Hub cannot be reached" in branch[2]
    assert commits[""] in branch[2]
    assert commit[1:] == [str(Path(branch[1]).with_name(commits["@v1"]))]
    assert absent[0] == "BundleError"
    assert "could not be downloaded (ConnectError" in absent[1]
    assert "check the network" in absent[1]


def test_a_file_that_was_damaged_in_the_cache_is_named_with_what_to_do(loaded):
    hub, home, commits = loaded
    hub.commit("owner/fragile", hub.repositories["owner/name"].commits[commits[""]])
    [[_, folder]] = ask(hub, home, "hf-hub:owner/fragile")
    weights = Path(folder, "model.safetensors").resolve()
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(BundleError, match=r"model\.safetensors does not match.*hf cache rm model/owner/fragile"):
        Bundle.open(folder)


def test_all_files_are_of_one_commit_even_where_the_branch_moves_with_every_request(tmp_path):
    bundles = [make_tiny_bundle(tmp_path / f"bundle{seed}", seed=seed).path for seed in range(2)]
    with running_hub() as hub:
        hub.before = lambda request: hub.commit("owner/name", bundles[len(hub.requests) % 2])
        [[kind, folder]] = ask(hub, tmp_path / "home", "hf-hub:owner/name")
    assert kind == "found", folder
    assert {request.split("/")[4] for request in hub.requests if request.startswith("GET /o")} == {Path(folder).name}


def test_a_download_that_breaks_off_is_resumed_and_one_that_always_does_is_refused(tmp_path):
    bundle = make_tiny_bundle(tmp_path / "bundle").path
    with running_hub() as hub:
        hub.commit("owner/once", bundle)
        hub.commit("owner/always", bundle)
        hub.cuts = {"owner/once/model.safetensors": 1, "owner/always/model.safetensors": 99}
        once, always = ask(hub, tmp_path / "home", "hf-hub:owner/once", "hf-hub:owner/always")
    assert once[0] == "found", once
    assert always[0] == "BundleError"
    assert "peer closed connection" in always[1]


def tampered(folder: Path) -> None:
    """Weights of another model, of the same size."""
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")


def repickled(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"PK\x03\x04 as torch.save begins")
    resign(folder)


def plain_timm(folder: Path) -> None:
    edit_config(folder, lambda config: config.pop("protozoo"))
    (folder / "SHA256SUMS").unlink()


def pickles_only(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    (folder / "config.json").write_text("{}")
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")


def newer(folder: Path) -> None:
    edit_config(folder, lambda config: config["protozoo"].update(format_version=2))
    (folder / "golden.safetensors").unlink()
    resign(folder)


FAULTS = {
    "tampered": (tampered, "model.safetensors does not match SHA256SUMS"),
    "repickled": (repickled, "model.safetensors is a pickle"),
    "plain": (plain_timm, "SHA256SUMS is missing, so this is not a whole protozoo bundle; a plain model of timm's"),
    "pickles": (pickles_only, "holds pickled weights (pytorch_model.bin), which are never loaded"),
    "newer": (newer, "has bundle format 2, this version of protozoo reads 1: upgrade protozoo"),
    "prototypes": (
        lambda folder: edit_config(folder, lambda config: config["protozoo"]["prototypes"].update(sha256="0" * 64)),
        "the prototypes are not those that config.json names",
    ),
    "lacking": (lambda folder: (folder / "model.onnx").unlink(), "lacks model.onnx, which its SHA256SUMS lists"),
    "sums": (lambda folder: (folder / "SHA256SUMS").write_text("0  ../../x\n"), "not the name of a file beside it"),
}
REFUSED = {
    "nothing": "there is no model 'owner/nothing' on the Hub, or it is private: check owner/name, or `hf auth login`",
    "private": "there is no model 'owner/private' on the Hub, or it is private",
    "gated": "hf-hub:owner/gated asks for an agreement: accept it at http://127.0.0.1",
    "gated@v9": "hf-hub:owner/gated has no revision 'v9': give a branch, a tag or a commit, or leave @v9 out",
    "a/b": "'owner/a/b' does not name a model of the Hub: give owner/name",
}
MESSAGES = {**{name: message for name, (_, message) in FAULTS.items()}, **REFUSED}


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[HubDouble, Path, dict[str, list[str]]]]:
    """A hub whose repositories are all at fault, a cache, and the answers that it gave."""
    tmp_path = tmp_path_factory.mktemp("faulty")
    with running_hub() as hub:
        for name, (damage, _) in FAULTS.items():
            folder = make_tiny_bundle(tmp_path / name).path
            damage(folder)
            hub.commit(f"owner/{name}", folder)
        for access in ("private", "gated"):
            hub.commit(f"owner/{access}", make_tiny_bundle(tmp_path / access).path, access=access)
        specs = {
            **{name: f"hf-hub:owner/{name}" for name in MESSAGES},
            "wrong token": "hf_wrong hf-hub:owner/gated",
            "private with a token": f"{TOKEN} hf-hub:owner/private",
            "gated with a token": f"{TOKEN} hf-hub:owner/gated",
        }
        answers = ask(hub, tmp_path / "home", *specs.values())
        yield hub, tmp_path / "home", dict(zip(specs, answers, strict=True))


@pytest.mark.parametrize("name", MESSAGES)
def test_what_is_wrong_with_a_repository_is_said_in_one_line(faulty, name):
    kind, message, *warnings = faulty[2][name]
    assert kind == "BundleError"
    assert MESSAGES[name] in message
    assert "\n" not in message
    assert warnings == []


def test_no_pickle_is_downloaded(faulty):
    hub, home, _ = faulty
    assert not [request for request in hub.requests if request.endswith(".bin")]
    assert not list(home.rglob("*.bin"))


def test_a_token_opens_what_is_private_and_a_wrong_one_is_refused(faulty):
    assert [faulty[2][f"{access} with a token"][0] for access in ("private", "gated")] == ["found", "found"]
    kind, message = faulty[2]["wrong token"]
    assert kind == "BundleError"
    assert "refuses access to hf-hub:owner/gated (401): `hf auth login`" in message
    assert "hf_wrong" not in message


def test_on_the_command_line_it_is_one_line_and_status_2(faulty):
    hub, home, _ = faulty
    done = subprocess.run(
        [sys.executable, "-m", "zoo", "serve", "hf-hub:owner/nothing"],
        capture_output=True,
        text=True,
        check=False,
        env=environment(hub, home),
    )
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"protozoo: {MESSAGES['nothing']}\n")
