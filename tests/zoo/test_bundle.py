import hashlib

import numpy as np
import pytest

from tests.tiny_bundle import edit_config, make_tiny_bundle
from zoo.bundle import FILES, Bundle, BundleError, ProtozooError, embedded_names, find, new_bundle
from zoo.files import write_atomically

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


def test_a_newer_format_asks_for_an_upgrade(bundle):
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


def test_pickled_weights_are_refused_and_not_opened(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"not even a pickle")
    with pytest.raises(BundleError, match="pickled weights"):
        Bundle.open(tmp_path)


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
    with pytest.raises(BundleError, match="hf download"):
        find("hf-hub:owner/name")
