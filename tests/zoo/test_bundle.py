import hashlib
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.tiny_bundle import edit_config, make_tiny_bundle, resign
from zoo.bundle import (
    FILES,
    Bundle,
    BundleError,
    Pretrained,
    ProtozooError,
    embedded_names,
    find,
    hub,
    is_bundle,
    new_bundle,
    pretrained_models,
)
from zoo.files import check_free, check_writable, staged_folder, write_atomically

ALL_FILES = [*FILES, "SHA256SUMS"]


@pytest.fixture
def bundle(tmp_path):
    return make_tiny_bundle(tmp_path / "bundle")


def test_an_untouched_bundle_opens_and_its_sums_are_in_sha256sums_format(bundle):
    opened = Bundle.open(bundle.path)
    assert set(opened.sha256) == set(FILES)
    assert opened.prototypes.shape == (len(opened.labels), 8)
    assert opened.golden.embeddings.shape == (len(opened.golden.images), 8)
    for line in (bundle.path / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((bundle.path / name).read_bytes()).hexdigest() == digest


def test_bundles_of_the_same_files_are_equal_and_print_without_them(bundle, tmp_path):
    opened, other = Bundle.open(bundle.path), make_tiny_bundle(tmp_path / "other", seed=1)
    assert opened == bundle != other
    assert {opened, bundle, other} == {bundle, other}
    assert repr(bundle) == f"Bundle(path={bundle.path!r})"
    edit_config(bundle.path, lambda config: config["protozoo"].update(objective="scl"))
    assert Bundle.open(bundle.path) != bundle


@pytest.mark.parametrize("position", [0.0, 0.3, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("name", ALL_FILES)
def test_one_changed_byte_in_any_file_is_refused_by_name(bundle, name, position):
    path = bundle.path / name
    data = bytearray(path.read_bytes())
    data[round(position * (len(data) - 1))] ^= 0x01
    path.write_bytes(data)
    with pytest.raises(BundleError) as refusal:
        Bundle.open(bundle.path)
    assert name in str(refusal.value)


@pytest.mark.parametrize("name", ALL_FILES)
def test_a_truncated_file_is_refused_by_name(bundle, name):
    path = bundle.path / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BundleError, match=name):
        Bundle.open(bundle.path)


@pytest.mark.parametrize("name", ALL_FILES)
def test_a_missing_file_is_refused_by_name(bundle, name):
    (bundle.path / name).unlink()
    with pytest.raises(BundleError, match=name):
        Bundle.open(bundle.path)


def test_a_name_that_leads_out_of_the_folder_is_refused(bundle):
    sums = bundle.path / "SHA256SUMS"
    sums.write_text(sums.read_text() + f"{'0' * 64}  ../secret\n")
    with pytest.raises(BundleError, match=r"\.\./secret"):
        Bundle.open(bundle.path)


def test_hidden_files_of_the_hub_do_not_matter(bundle):
    (bundle.path / ".gitattributes").write_text("*.onnx filter=lfs\n")
    (bundle.path / ".cache").mkdir()
    Bundle.open(bundle.path)


def test_a_newer_format_asks_for_an_upgrade_even_where_its_files_are_others(bundle):
    (bundle.path / "golden.safetensors").rename(bundle.path / "golden.parquet")
    edit_config(bundle.path, lambda config: config["protozoo"].update(format_version=2))
    with pytest.raises(BundleError, match=r"format 2.*upgrade protozoo"):
        Bundle.open(bundle.path)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c["protozoo"]["prototypes"].update(sha256="0" * 64), "prototypes are not those"),
        (lambda c: c["protozoo"]["prototypes"].update(tensor="elsewhere"), "elsewhere"),
        (lambda c: c["protozoo"]["weights"].update(sha256="0" * 64), "another digest"),
        (lambda c: c["label_names"].pop(), "label names"),
        (lambda c: c.update(num_classes=3), "num_classes 3"),
        (lambda c: c["protozoo"].update(temperature=0), "temperature must be positive"),
        (lambda c: c["protozoo"].update(temperature="nan"), "temperature must be positive"),
        (lambda c: c.pop("protozoo"), "not a bundle's configuration"),
        (lambda c: c["protozoo"].pop("code_revision"), "code_revision"),
        (lambda c: c["pretrained_cfg"].pop("tag"), "tag"),
        (lambda c: c["label_names"].__setitem__(0, 7), "7 must be a string"),
        (lambda c: c["protozoo"]["open_set"]["thresholds"][0].update(cosine=2), "out of range"),
    ],
)
def test_a_config_that_contradicts_the_files_is_refused_even_with_fitting_sums(bundle, edit, message):
    edit_config(bundle.path, edit)
    with pytest.raises(BundleError, match=message):
        Bundle.open(bundle.path)


def test_prototypes_off_the_sphere_are_refused(tmp_path):
    rows = np.ones((5, 8), np.float32)
    with pytest.raises(BundleError, match="unit norm"):
        make_tiny_bundle(tmp_path / "off", prototypes=rows)
    assert not (tmp_path / "off").exists()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pth", "checkpoint.ckpt"])
def test_pickled_weights_are_refused_and_not_opened(tmp_path, name):
    (tmp_path / name).write_bytes(b"not even a pickle")
    with pytest.raises(BundleError, match=f"pickled weights.*{name}"):
        Bundle.open(tmp_path)


@pytest.mark.parametrize("start", [b"PK\x03\x04", b"\x80\x02", b"\x80\x04"])
def test_a_pickle_in_the_name_of_safetensors_is_refused_as_one(bundle, start):
    (bundle.path / "model.safetensors").write_bytes(start + b"what torch.save or pickle.dump write")
    resign(bundle.path)
    with pytest.raises(BundleError, match=r"model\.safetensors is a pickle and not safetensors"):
        Bundle.open(bundle.path)


def test_a_header_whose_length_looks_like_a_pickle_is_none(bundle):
    # A header of 128 bytes more than a multiple of 256 begins with the byte that pickles begin with.
    path = bundle.path / "model.safetensors"
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    padding = (0x80 - length) % 256
    header = data[8 : 8 + length] + b" " * padding
    path.write_bytes((length + padding).to_bytes(8, "little") + header + data[8 + length :])
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    edit_config(bundle.path, lambda config: config["protozoo"]["weights"].update(sha256=digest))
    assert path.read_bytes().startswith(b"\x80")
    Bundle.open(bundle.path)


def test_a_plain_model_of_timm_is_said_to_be_one(bundle):
    (bundle.path / "SHA256SUMS").unlink()
    with pytest.raises(BundleError, match=r"SHA256SUMS is missing.*timm\.create_model"):
        Bundle.open(bundle.path)


def test_no_folder_and_no_bundle_are_told_apart(tmp_path):
    with pytest.raises(BundleError, match="no such folder"):
        Bundle.open(tmp_path / "nothing")
    with pytest.raises(BundleError, match="SHA256SUMS is missing"):
        Bundle.open(tmp_path)


def test_a_writer_that_fails_leaves_nothing_behind(tmp_path):
    def fail():
        with new_bundle(tmp_path / "out") as folder:
            (folder / "config.json").write_text("{}")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_that_is_not_whole_is_never_put_in_place(tmp_path):
    with pytest.raises(BundleError, match="does not list"), new_bundle(tmp_path / "out") as folder:
        (folder / "config.json").write_text("{}")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_never_overwritten(bundle):
    with pytest.raises(ProtozooError, match="exists already"), new_bundle(bundle.path):
        pass
    Bundle.open(bundle.path)


def test_files_of_a_bundle_are_readable_by_others(bundle):
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in bundle.path.iterdir())


def test_an_atomic_write_replaces_and_leaves_no_other_file(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_find_takes_folders_and_names_and_offers_the_nearest(bundle):
    assert find(bundle.path) == bundle.path
    assert find(f"local-dir:{bundle.path}") == bundle.path
    assert find("proto_resnet20_cifar.nonl_cifar10").name == "proto_resnet20_cifar.nonl_cifar10"
    assert find("proto_resnet20_cifar").name in embedded_names()
    with pytest.raises(BundleError, match=r"did you mean proto_resnet20_cifar\.nonl_cifar10"):
        find("proto_resnet20_cifar.nonl_cifar")
    with pytest.raises(BundleError, match="no such folder"):
        find("local-dir:nowhere")
    with pytest.raises(BundleError, match="for the Hub's repository of that name write hf-hub:owner/name"):
        find("owner/name")


def known(bundle, *, package, hub=None, tag="nonl_tiny"):
    cfg = {**bundle.config["pretrained_cfg"], "tag": tag, **({"hf_hub_id": hub} if hub else {})}
    return Pretrained(package, bundle.path, {**bundle.config, "pretrained_cfg": cfg})


def use(monkeypatch, *models):
    # The package's function of that name hides the module.
    module = sys.modules["zoo.bundle.find"]
    monkeypatch.setattr(module, "pretrained_models", lambda: {model.name: model for model in models})


def test_an_architecture_means_the_first_weights_of_the_first_package_that_has_it(bundle, monkeypatch, tmp_path):
    other = make_tiny_bundle(tmp_path / "other", seed=1)
    first, beside = known(bundle, package="protozoo"), known(other, package="insects", tag="other")
    use(monkeypatch, first, beside)
    assert find("proto_tiny") == find("proto_tiny.nonl_tiny") == bundle.path
    assert find("proto_tiny.other") == other.path


def test_weights_of_the_hub_must_be_those_that_the_package_knows(bundle, monkeypatch, tmp_path):
    use(monkeypatch, known(bundle, package="insects", hub="owner/name@v1"))
    asked = []
    monkeypatch.setattr(hub, "download", lambda spec: asked.append(spec) or bundle.path)
    assert find("proto_tiny.nonl_tiny") == bundle.path
    assert asked == ["owner/name@v1"]
    moved = make_tiny_bundle(tmp_path / "moved", seed=1)
    monkeypatch.setattr(hub, "download", lambda spec: moved.path)
    with pytest.raises(BundleError, match=r"owner/name@v1 now has other weights.*upgrade insects, or load hf-hub:"):
        find("proto_tiny.nonl_tiny")


def test_the_package_knows_its_own_models():
    name = "proto_resnet20_cifar.nonl_cifar10"
    model = pretrained_models()[name]
    assert (model.name, model.package, model.hub) == (name, "protozoo", None)
    assert model.weights_sha256 == Bundle.open(model.folder).record["weights"]["sha256"]


def test_a_file_that_could_not_be_written_is_refused_beforehand_and_a_trial_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text("old")
    for name in ("old.json", "new.json"):
        check_writable(tmp_path / name)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("old.json", "old")]
    for folder in ("none", "old.json"):
        with pytest.raises(ProtozooError, match=r"new.json cannot be written \(No.*make its folder or choose another"):
            check_writable(tmp_path / folder / "new.json")


def test_a_folder_that_could_not_be_made_is_refused_beforehand_and_one_whose_parents_are_missing_is_not(
    tmp_path: Path,
) -> None:
    (tmp_path / "old.json").write_text("old")
    check_free(tmp_path / "one" / "two")
    assert [path.name for path in tmp_path.iterdir()] == ["old.json"]
    with pytest.raises(ProtozooError, match="new cannot be written"):
        check_free(tmp_path / "old.json" / "new")


@pytest.mark.parametrize("umask", [0o077, 0o022])
def test_a_folder_is_as_readable_as_the_user_lets_files_be(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with staged_folder(tmp_path / "out") as folder:
            (folder / "sub").mkdir()
            (folder / "sub" / "file").touch()
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    out = tmp_path / "out"
    modes = [path.stat().st_mode & 0o777 for path in (out, out / "sub", out / "sub" / "file")]
    assert modes == [0o777 & ~umask, 0o777 & ~umask, 0o666 & ~umask]


def test_a_name_of_the_zoo_is_no_folder_that_is_called_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "proto_resnet20_cifar.nonl_digits"
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    released = pretrained_models()[name].folder
    assert find(name) == released
    assert find("proto_resnet20_cifar") == released.with_name("proto_resnet20_cifar.nonl_cifar10")
    for folder in (f"./{name}", f"local-dir:{name}", Path(name)):
        assert find(folder) == Path(name)


def test_a_folder_may_be_given_from_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    make_tiny_bundle(tmp_path / "mine")
    assert find("~/mine") == find("local-dir:~/mine") == tmp_path / "mine"
    assert is_bundle("~/mine")
    assert not is_bundle("~/yours")
