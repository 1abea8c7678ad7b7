"""`protozoo sets`: what was enrolled as a table, a file, a bundle, and under another model."""

from __future__ import annotations

import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from starlette.testclient import TestClient

import zoo
from export.cli import verify
from serving.app import create_app
from serving.sets import ModelKey, SetStore
from serving.sets_cli import sets
from serving.settings import Settings
from tests.serving.sets.writers import MODEL, units
from tests.serving.talk import form
from tests.tiny_bundle import make_tiny_bundle
from zoo.bundle import Bundle, find
from zoo.cli import run_command

BASE = "proto_resnet20_cifar.nonl_digits"


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/sets.sqlite"


@pytest.fixture
def filled(url):
    """The URL of a database with a set of another model's."""
    fill(url)
    return url


def fill(url):
    store = SetStore.open(url, MODEL)
    store.enrol("birds", "wren", units(1, 3), images=[b"one", b"two", b"three"])
    store.enrol("birds", "robin", units(2, 2))
    store.enrol("alone", "rook", units(3))
    store.close()


def run(*arguments):
    """What a command prints, where it succeeds."""
    result = CliRunner().invoke(sets, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def mistake(monkeypatch, capsys):
    """mistake(arguments) -> the one line that a user sees, as `protozoo` prints it."""

    def line(*arguments):
        monkeypatch.setattr(sys, "argv", ["protozoo sets", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            run_command(sets, "protozoo sets")
        out, err = capsys.readouterr()
        assert (ended.value.code, out, err.count("\n")) == (2, "", 1), err
        return err

    return line


# ---- the table and the file


def test_sets_are_listed_with_model_and_sizes(filled):
    header, alone, birds = run("list", "--database", filled).splitlines()
    assert header.split() == ["name", "weights", "classes", "examples", "kept", "images", "updated"]
    assert alone.split()[:5] == ["alone", "a" * 12, "1", "1", "-"]
    assert birds.split()[:6] == ["birds", "a" * 12, "2", "5", "0.00", "MB"]
    assert birds.endswith(" UTC")


def test_the_database_is_the_service_s_unless_named(filled, monkeypatch):
    monkeypatch.setenv("PROTOZOO_DATABASE", filled)
    assert "birds" in run("list")


def test_a_dumped_set_is_imported_whole_under_another_name(database_url, tmp_path):
    fill(database_url)
    file = tmp_path / "birds.safetensors"
    run("dump", "birds", "--out", file, "--database", database_url)
    assert file.stat().st_mode & 0o077 == 0, "faces may be in it"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert "2 classes, 5 examples" in run("import", file, "--name", "birds-2", "--database", database_url)
    store = SetStore.open(database_url, MODEL)
    first, second = store.snapshot("birds"), store.snapshot("birds-2")
    assert first.labels == second.labels
    np.testing.assert_array_equal(first.sums, second.sums)
    assert list(store.images("birds-2", "wren").values()) == [b"one", b"two", b"three"]
    store.close()


def test_a_set_is_imported_into_a_new_database(filled, tmp_path):
    run("dump", "birds", "--out", tmp_path / "file", "--database", filled)
    new = f"sqlite:///{tmp_path}/new.sqlite"
    run("import", tmp_path / "file", "--database", new)
    assert "birds" in run("list", "--database", new)


# ---- a bundle


@pytest.fixture(scope="module")
def base():
    return Bundle.open(find(BASE))


def picture(label, seed):
    """Noise in the colour of its class."""
    chance = np.random.default_rng((label, seed))
    pixels = (np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200]])[label] + chance.normal(0, 40, (28, 36, 3))).clip(
        0, 255
    )
    buffer = BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def served(bundle, url):
    settings = Settings(str(bundle.path), database=url, max_images=16)
    return TestClient(create_app(lambda: settings), raise_server_exceptions=False)


@pytest.fixture(scope="module")
def exported(base, tmp_path_factory):
    """(bundle of what was enrolled over HTTP, pictures, the base's answers by the enrolled set)."""
    folder = tmp_path_factory.mktemp("exported")
    url = f"sqlite:///{folder}/sets.sqlite"
    images = [picture(label, seed) for label in range(3) for seed in range(100, 103)]
    with served(base, url) as client:
        for label, name in enumerate(["Röd", "green", "b, 3"]):
            files = form(*(picture(label, seed) for seed in range(7)))
            assert client.put(f"/v1/sets/my.set/classes/{name}", files=files).status_code == 201
        answers = client.post("/v1/classify?set=my.set&k=3", files=form(*images)).json()["results"]
    told = run("export", "my.set", "--model", BASE, "--out", folder / "bundle", "--database", url)
    assert "3 classes, 21 examples" in told
    return Bundle.open(folder / "bundle"), images, answers


def test_an_exported_set_is_served_with_the_answers_that_it_had_as_a_set(exported, tmp_path):
    bundle, images, expected = exported
    with served(bundle, f"sqlite:///{tmp_path}/other.sqlite") as client:
        answers = client.post("/v1/classify?k=3", files=form(*images)).json()["results"]
    for answer, before in zip(answers, expected, strict=True):
        assert (answer["label"], answer["index"], answer["certified"]) == (
            before["label"],
            before["index"],
            before["certified"],
        )
        for one, other in zip(answer["predictions"], before["predictions"], strict=True):
            assert one["label"] == other["label"]
            assert one["cosine"] == pytest.approx(other["cosine"], abs=1e-6)
            assert one["probability"] == pytest.approx(other["probability"], abs=1e-5)


def test_an_exported_set_is_verified_like_any_bundle(exported):
    result = CliRunner().invoke(verify, [str(exported[0].path)], catch_exceptions=False)
    assert "verified" in result.output


def test_an_exported_set_is_loaded_in_python_with_the_same_labels(exported):
    bundle, images, expected = exported
    found = zoo.load(bundle.path).predict([Image.open(BytesIO(image)) for image in images], k=1)
    assert [predictions[0].label for predictions in found] == [answer["label"] for answer in expected]


def test_the_record_of_an_exported_set_says_what_it_is(exported, base):
    record = exported[0].record
    assert record["base"]["weights_sha256"] == base.record["weights"]["sha256"]
    assert (record["objective"], record["prototypes"]["kind"], record["readout"]) == (
        "class_means",
        "class_means",
        {"kind": "cosine"},
    )
    assert record["temperature"] == base.temperature
    assert record["data"]["examples_per_class"] == {"Röd": 7, "green": 7, "b, 3": 7}
    assert (record["data"]["test_images"], record["metrics"]) == (0, {})
    assert [row["fpr"] for row in record["open_set"]["thresholds"]] == [0.05, 0.1]
    assert record["command"] == f"protozoo sets export my.set --model {BASE} --out BUNDLE"
    card = (exported[0].path / "README.md").read_text(encoding="utf-8")
    assert "Not measured: accuracy" in card


# ---- another model


def test_a_set_is_embedded_again_as_if_it_had_been_enrolled_with_the_new_model(url, tmp_path, encode, bundle):
    other = make_tiny_bundle(tmp_path / "other", seed=1, dim=6)
    images = [encode("PNG", seed=seed) for seed in range(3)]
    with served(bundle, url) as client:
        assert client.put("/v1/sets/s/classes/x?keep=images", files=form(*images[:2])).status_code == 201
        assert client.put("/v1/sets/s/classes/y?keep=images", files=form(images[2])).status_code == 201
    run("reembed", "s", "--model", other.path, "--database", url)
    with served(other, url) as client:
        for label, files in (("x", images[:2]), ("y", images[2:])):
            client.put(f"/v1/sets/new/classes/{label}", files=form(*files))
        rows = [client.get(f"/v1/sets/{name}/prototypes").json()["prototypes"] for name in ("s", "new")]
        np.testing.assert_allclose(*rows, atol=1e-6)
    key = ModelKey(other.record["weights"]["sha256"], 6)
    store = SetStore.open(url, key)
    assert store.get_set("s").model == key
    store.close()


def test_nothing_but_export_imports_torch(filled, bundle, tmp_path):
    file = tmp_path / "file"
    commands = [["list"], ["dump", "birds", "--out", str(file)], ["import", str(file), "--name", "b"]]
    commands += [["reembed", "birds", "--model", str(bundle.path)]]
    code = f"""
import sys
from serving.sets_cli import sets
from zoo.errors import ProtozooError
for command in {commands!r}:
    try:
        sets([*command, "--database", {filled!r}], standalone_mode=False)
    except ProtozooError:
        assert command[0] == "reembed"
print({{"torch", "timm"}} & set(sys.modules))
"""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.stdout.endswith("set()\n"), done.stderr


# ---- mistakes


def test_a_missing_database_is_named_and_not_made(mistake, tmp_path):
    assert "there is no such database" in mistake("list", "--database", f"sqlite:///{tmp_path}/typo.sqlite")
    assert not (tmp_path / "typo.sqlite").exists()


def test_a_password_is_not_printed(mistake):
    line = mistake("list", "--database", "postgresql://me:secret@127.0.0.1:1/sets")
    assert "secret" not in line
    assert "cannot be opened" in line


def test_a_file_is_not_written_over(mistake, filled, tmp_path):
    (tmp_path / "file").write_text("precious")
    assert "exists already" in mistake("dump", "birds", "--out", tmp_path / "file", "--database", filled)
    assert (tmp_path / "file").read_text() == "precious"
    assert "cannot be written" in mistake("dump", "birds", "--out", tmp_path / "no" / "file", "--database", filled)


def test_what_is_no_set_is_not_imported(mistake, filled, tmp_path):
    (tmp_path / "file").write_bytes(b"\x80\x04]\x94.")
    assert "no prototype set" in mistake("import", tmp_path / "file", "--database", filled)


def test_a_set_is_not_imported_over_another(mistake, filled, tmp_path):
    run("dump", "birds", "--out", tmp_path / "file", "--database", filled)
    assert "already" in mistake("import", tmp_path / "file", "--database", filled)


def test_an_unknown_set_is_named(mistake, filled, bundle, tmp_path):
    for command in (["dump"], ["export", "--model", bundle.path], ["reembed", "--model", bundle.path]):
        out = [] if command[0] == "reembed" else ["--out", tmp_path / "out"]
        assert "'nobody'" in mistake(*command, "nobody", *out, "--database", filled)
    assert not (tmp_path / "out").exists()


def test_a_set_of_another_model_is_no_bundle_of_this_one(mistake, filled, bundle, tmp_path):
    line = mistake("export", "birds", "--model", bundle.path, "--out", tmp_path / "out", "--database", filled)
    assert "a" * 12 in line
    assert bundle.record["weights"]["sha256"][:12] in line
    assert not (tmp_path / "out").exists()


def test_one_class_is_no_bundle(mistake, url, bundle, tmp_path):
    store = SetStore.open(url, ModelKey(bundle.record["weights"]["sha256"], 8))
    store.enrol("s", "x", units(1))
    store.close()
    line = mistake("export", "s", "--model", bundle.path, "--out", tmp_path / "out", "--database", url)
    assert "two classes or more" in line


def test_a_set_without_its_images_stays_what_it_was(mistake, filled, bundle):
    line = mistake("reembed", "birds", "--model", bundle.path, "--database", filled)
    assert "'robin'" in line
    assert f"birds  {'a' * 12}" in run("list", "--database", filled)


def test_an_image_that_cannot_be_decoded_is_a_mistake_and_changes_nothing(mistake, url, bundle):
    store = SetStore.open(url, MODEL)
    store.enrol("s", "x", units(1), images=[b"no image"])
    store.close()
    assert "cannot be embedded" in mistake("reembed", "s", "--model", bundle.path, "--database", url)
    assert "a" * 12 in run("list", "--database", url)


@pytest.mark.parametrize("name", sorted(sets.commands))
def test_every_command_shows_an_example(name):
    assert f"Example: protozoo sets {name}" in run(name, "--help")
