import io
import shutil

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import zoo
import zoo.classifier
import zoo.models.architectures
from tests.tiny_bundle import edit_config, resign
from zoo.bundle import BundleError, ImageError, Pretrained, ProtozooError, pretrained_models
from zoo.bundle.catalogue import _DEFAULT_TAGS

NAME = "proto_resnet20_cifar.nonl_cifar10"
IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def picture(mode="RGB", size=(40, 30), seed=0):
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    if mode == "I;16":
        return Image.fromarray(noise[..., 0].astype(np.uint16) * 257)
    return Image.fromarray(noise).convert(mode)


def test_pretrained_by_timm_and_by_the_strict_door_are_one_model():
    ours, timms = zoo.create_model(NAME, pretrained=True).eval(), timm.create_model(NAME, pretrained=True).eval()
    assert type(ours) is type(timms)
    for (name, a), (_, b) in zip(ours.state_dict().items(), timms.state_dict().items(), strict=True):
        assert torch.equal(a, b), name
    assert torch.equal(ours(IMAGES), timms(IMAGES))


def test_prototypes_are_bit_equal_to_the_file():
    bundle = zoo.bundle.Bundle.open(zoo.bundle.find(NAME))
    model = zoo.create_model(NAME, pretrained=True)
    assert np.array_equal(model.head.fc.weight.detach().numpy(), bundle.prototypes)


def test_a_tag_brings_its_own_head_and_temperature(digits_bundle):
    model = zoo.create_model(f"local-dir:{digits_bundle.path}")
    assert model.temperature == digits_bundle.temperature == 0.15
    assert timm.create_model(f"local-dir:{digits_bundle.path}", pretrained=True).temperature == 0.15


def test_lists_hold_architectures_or_weights():
    assert zoo.list_models("*resnet20*") == ["proto_resnet20_cifar"]
    assert NAME in zoo.list_models(pretrained=True)
    assert NAME in timm.list_pretrained("proto_*")


@pytest.mark.parametrize(
    ("architecture", "tag"),
    [
        ("proto_resnet20_cifar", "nonl_cifar10"),
        ("proto_resnet9_cifar", "ntce_cifar10"),
        ("proto_wide_resnet9_cifar", "nonl_tiny_imagenet"),  # the one that the package has, beside the checkout's nine
    ],
)
def test_an_architecture_alone_means_the_same_default_tag_as_in_timm(architecture: str, tag: str) -> None:
    # What scripts rely on: weights that are added later must not change it.
    assert timm.get_pretrained_cfg(architecture).tag == tag
    assert zoo.load(architecture).bundle.name == f"{architecture}.{tag}"


def test_every_architecture_with_weights_has_a_default_that_is_one_of_them() -> None:
    own = [model for model in pretrained_models().values() if model.package == "protozoo"]
    assert set(_DEFAULT_TAGS) == {model.architecture for model in own}
    assert {f"{architecture}.{tag}" for architecture, tag in _DEFAULT_TAGS.items()} <= {model.name for model in own}


def test_random_weights_must_be_asked_for():
    with pytest.raises(ProtozooError, match="names weights: pass pretrained=True"):
        zoo.create_model(NAME)
    first, second = zoo.create_model("proto_resnet20_cifar"), zoo.create_model("proto_resnet20_cifar", pretrained=True)
    assert not torch.equal(first.conv1.weight, second.conv1.weight)


def test_an_unknown_name_offers_the_nearest():
    with pytest.raises(ProtozooError, match=r"did you mean .*proto_resnet18_cifar"):
        zoo.create_model("proto_resnet18_cifr")
    with pytest.raises(BundleError, match="did you mean"):
        zoo.load("proto_resnet20_cifar.nonl_cifar100")
    with pytest.raises(BundleError, match="'' is neither a folder nor"):
        zoo.load("")
    with pytest.raises(BundleError, match="did you mean"):
        zoo.create_model("proto_resnet20_cifar.nonl_cifar100", pretrained=True)


def test_a_folder_is_loaded_with_its_weights(digits_bundle, monkeypatch):
    monkeypatch.chdir(digits_bundle.path.parent)
    for folder in (digits_bundle.path.name, digits_bundle.path):
        model = zoo.create_model(folder)
        assert np.array_equal(model.head.fc.weight.detach().numpy(), digits_bundle.prototypes)


def test_another_number_of_classes_makes_new_prototypes_loudly():
    with pytest.warns(UserWarning, match="new and random"):
        model = zoo.create_model(NAME, pretrained=True, num_classes=3)
    assert model.prototypes.shape == (3, 64)
    assert torch.equal(model.conv1.weight, zoo.create_model(NAME, pretrained=True).conv1.weight)


FIXED = "proto_resnet9_cifar.ce_cifar10"  # class means


@pytest.mark.filterwarnings("ignore:.*new and random")
def test_new_classes_of_a_model_with_fixed_prototypes_can_be_trained():
    folder = f"local-dir:{zoo.bundle.find(FIXED)}"
    for create in (zoo.create_model, timm.create_model):
        for name in (FIXED, folder):
            same, other = create(name, pretrained=True), create(name, pretrained=True, num_classes=5)
            assert not list(same.get_classifier().parameters())
            assert [rows.shape for rows in other.get_classifier().parameters()] == [(5, 128)]
            assert torch.equal(other.conv1.weight, same.conv1.weight)
            assert other.temperature == same.temperature
    assert not list(timm.create_model(FIXED, num_classes=5, prototypes="fixed").get_classifier().parameters())


def test_new_prototypes_that_are_to_be_fixed_are_said_to_be():
    with pytest.warns(UserWarning, match="of the 5 asked for are new and fixed: train towards them, or put others in"):
        model = zoo.create_model(FIXED, pretrained=True, num_classes=5, prototypes="fixed")
    assert not list(model.get_classifier().parameters())


def test_none_is_not_asked_for():
    model = zoo.create_model(NAME, pretrained=True, num_classes=None, temperature=None)
    assert torch.equal(model.prototypes, zoo.create_model(NAME, pretrained=True).prototypes)


def test_timm_builds_a_tag_by_all_of_its_models_arguments_and_by_none_of_timms(monkeypatch):
    released = pretrained_models()[NAME]
    args = {**released.config["model_args"], "global_pool": "max", "pretrained_cfg_overlay": {"file": "weights.pth"}}
    other = Pretrained("insects", released.folder, {**released.config, "model_args": args})
    monkeypatch.setattr(zoo.models.architectures, "pretrained_models", lambda: {NAME: other})
    model = timm.create_model(NAME, pretrained=True)
    assert model.head.global_pool.pool_type == "max"
    assert torch.equal(model.prototypes, zoo.create_model(NAME, pretrained=True).prototypes)
    # Called by itself, the entry point is given no overlay that would hide the configuration's.
    assert torch.equal(zoo.models.architectures.proto_resnet20_cifar(pretrained=True).prototypes, model.prototypes)


def damaged(digits_bundle, folder, change):
    copy = shutil.copytree(digits_bundle.path, folder / "copy")
    tensors = load_file(copy / "model.safetensors")
    change(tensors)
    save_file(tensors, copy / "model.safetensors")
    resign(copy)
    digests = dict(line.split("  ")[::-1] for line in (copy / "SHA256SUMS").read_text().splitlines())
    edit_config(copy, lambda c: c["protozoo"]["weights"].update(sha256=digests["model.safetensors"]))
    return copy


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda t: t.pop("bn1.bias"), "bn1.bias"),
        (lambda t: t.update(extra=torch.zeros(1)), "extra"),
        (lambda t: t.update({"bn1.bias": torch.zeros(3)}), "bn1.bias"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(digits_bundle, tmp_path, change, named):
    copy = damaged(digits_bundle, tmp_path, change)
    with pytest.raises(BundleError, match=named):
        zoo.create_model(f"local-dir:{copy}")


def test_a_config_of_another_model_is_refused(digits_bundle, tmp_path):
    copy = shutil.copytree(digits_bundle.path, tmp_path / "copy")
    edit_config(copy, lambda config: config["model_args"].update(colour="red"))
    with pytest.raises(BundleError, match="does not describe a model"):
        zoo.create_model(f"local-dir:{copy}")
    edit_config(copy, lambda config: config.update(architecture="insects_net"))
    with pytest.raises(BundleError, match="no architecture 'insects_net' is registered: install the package that has"):
        zoo.create_model(f"local-dir:{copy}")


@pytest.fixture(scope="module")
def classifier():
    return zoo.load(NAME)


def test_one_image_gives_a_list_of_predictions_and_a_list_gives_lists(classifier, tmp_path):
    path = tmp_path / "noise.png"
    picture().save(path)
    one = classifier.predict(path, k=3)
    assert [type(prediction) for prediction in one] == [zoo.Prediction] * 3
    assert classifier.predict(str(path), k=3) == one
    assert classifier.predict([path], k=3) == [one]
    for predictions in classifier.predict([path, picture()], k=3):  # a batch of another size rounds differently
        assert [p.index for p in predictions] == [p.index for p in one]
        assert [p.cosine for p in predictions] == pytest.approx([p.cosine for p in one], abs=1e-5)
    assert classifier.predict([]) == []


def test_predictions_are_the_nearest_prototypes_with_softmax_probabilities(classifier):
    predictions = classifier.predict(picture(), k=100)
    assert len(predictions) == 10
    cosines = classifier.embed(picture())[0] @ classifier.bundle.prototypes.T
    assert [p.index for p in predictions] == np.argsort(-cosines).tolist()
    weights = np.exp(cosines / classifier.bundle.temperature)
    for prediction in predictions:
        assert prediction.label == classifier.labels[prediction.index]
        assert prediction.cosine == pytest.approx(cosines[prediction.index], abs=1e-5)
        assert prediction.probability == pytest.approx(weights[prediction.index] / weights.sum(), abs=1e-5)


def test_embeddings_are_unit_float32_arrays_in_the_order_of_the_images(classifier):
    pictures = [picture(seed=seed) for seed in range(70)]  # more than one batch
    embeddings = classifier.embed(pictures)
    assert embeddings.shape == (70, 64)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(embeddings[66:67], classifier.embed(pictures[66]), atol=1e-5)
    assert classifier.embed([]).shape == (0, 64)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "HSV", "I", "F", "I;16"])
def test_any_mode_is_taken(classifier, mode):
    assert len(classifier.predict(picture(mode))) == 5


def test_to_moves_the_model_and_gives_the_classifier_back(classifier):
    with pytest.raises(ProtozooError, match="device 'nonsense' cannot be used"):
        classifier.to("nonsense")
    assert classifier.device.type == "cpu"
    elsewhere = zoo.load(NAME).to("meta")
    assert elsewhere.device.type == "meta"
    assert elsewhere.model.prototypes.is_meta
    assert classifier.to("cpu") is classifier


def test_a_bar_is_shown_for_many_images_on_a_terminal_alone(classifier, monkeypatch):
    totals = []

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    real = zoo.classifier.tqdm

    def bar(**options):
        shown = real(**options, file=Terminal())
        totals.append((options["total"], bool(shown.disable)))
        return shown

    monkeypatch.setattr(zoo.classifier, "tqdm", bar)
    classifier.embed([picture()] * 3)
    classifier.embed([picture()] * 512)
    assert totals == [(3, True), (512, False)]


def test_a_file_that_is_no_image_is_named(classifier, tmp_path):
    path = tmp_path / "text.png"
    path.write_text("no image")
    with pytest.raises(ImageError, match=r"text\.png cannot be read"):
        classifier.predict([picture(), path])
    with pytest.raises(ImageError, match=r"nothing\.png: no such file"):
        classifier.embed(tmp_path / "nothing.png")


@pytest.mark.parametrize("asked", ["predict", "embed"])
def test_what_is_neither_a_path_nor_a_picture_is_told_how_to_become_one(classifier, asked):
    for given, kind in (
        (np.zeros((8, 8, 3), np.uint8), "ndarray"),
        (b"\x89PNG", "bytes"),
        ([b"x"], "bytes"),
        ([7], "int"),
    ):
        with pytest.raises(TypeError, match=rf"of type {kind}: PIL.Image.fromarray.*io.BytesIO"):
            getattr(classifier, asked)(given)


@pytest.mark.parametrize(
    ("given", "kind"), [(np.array(["a.png", "b.png"]), "ndarray"), ((name for name in ["a.png"]), "generator")]
)
def test_what_holds_images_is_told_to_become_a_list(classifier, given, kind):
    with pytest.raises(TypeError, match=rf"several images are a list, not of type {kind}: list\(images\) makes one"):
        classifier.predict(given)


def test_a_picture_without_pixels_is_no_image(classifier):
    with pytest.raises(ImageError, match="0 x 5 pixels"):
        classifier.predict(Image.new("RGB", (0, 5)))


def test_k_and_device_are_checked(classifier):
    with pytest.raises(ValueError, match="at least 1"):
        classifier.predict(picture(), k=0)
    with pytest.raises(ProtozooError, match="device 'nonsense' cannot be used"):
        zoo.load(NAME, device="nonsense")


def test_another_temperature_is_taken(digits_bundle):
    for create in (zoo.create_model, timm.create_model):
        model = create(f"local-dir:{digits_bundle.path}", pretrained=True, temperature=0.05)
        assert model.temperature == 0.05
        assert np.array_equal(model.head.fc.weight.detach().numpy(), digits_bundle.prototypes)
        assert create(NAME, pretrained=True, temperature=0.05).temperature == 0.05


def test_no_prototypes_are_no_surprise(recwarn):
    model = zoo.create_model(NAME, pretrained=True, num_classes=0)
    assert model(IMAGES).shape == (2, 64)
    assert not [warning for warning in recwarn if "new and random" in str(warning.message)]


@pytest.mark.parametrize(
    "asked", [{"in_chans": 1}, {"features_only": True}, {"hed": "linear"}, {"embed_dim": 5, "num_classes": 10}]
)
def test_arguments_that_the_weights_do_not_fit_are_named_and_not_the_bundle_blamed(asked):
    with pytest.raises(ProtozooError, match=rf"nonl_cifar10 cannot be had with .*{next(iter(asked))}=") as refusal:
        zoo.create_model(NAME, pretrained=True, **asked)
    assert not isinstance(refusal.value, BundleError)


def test_other_weights_than_the_bundles_are_refused():
    with pytest.raises(ProtozooError, match="checkpoint_path is not for a bundle, which has its weights"):
        zoo.create_model(NAME, pretrained=True, checkpoint_path="weights.pth")


def test_a_checkpoint_that_may_be_a_pickle_is_not_opened(tmp_path):
    state = zoo.create_model("proto_resnet20_cifar", num_classes=10).state_dict()
    torch.save(state, tmp_path / "weights.pth")
    save_file(state, tmp_path / "weights.safetensors")
    for name in ("weights.pth", str(tmp_path / "weights.pth"), tmp_path / "weights.safetensors.bin"):
        with pytest.raises(ProtozooError, match=r"may be a pickle.*safetensors\.torch\.save_file"):
            zoo.create_model("proto_resnet20_cifar", num_classes=10, checkpoint_path=name)
    with pytest.raises(ProtozooError, match="no such file"):
        zoo.create_model("proto_resnet20_cifar", checkpoint_path=tmp_path / "nothing.safetensors")
    path = tmp_path / "weights.safetensors"
    model = zoo.create_model("proto_resnet20_cifar", num_classes=10, checkpoint_path=path)
    assert torch.equal(model.prototypes, torch.nn.functional.normalize(state["head.fc.weight"], dim=1))


def test_features_are_timms_to_give():
    with pytest.raises(TypeError, match=r"feature maps and no prototypes: timm\.create_model\('proto_resnet20_cifar'"):
        zoo.create_model("proto_resnet20_cifar", features_only=True)


def test_a_cosine_has_an_angle(digits_bundle, monkeypatch):
    model = (classifier := zoo.load(digits_bundle.path)).model
    monkeypatch.setattr(model, "embed", lambda pixels: model.prototypes[:1] * (1 + 4e-7))
    assert max(prediction.cosine for prediction in classifier.predict(picture(), k=10)) == 1.0


def test_a_classifier_answers_by_what_its_model_has_become(digits_bundle):
    classifier = zoo.load(digits_bundle.path)
    before = classifier.predict(picture(), k=10)
    classifier.model.set_prototypes(classifier.model.prototypes.detach().roll(1, 0))
    moved = classifier.predict(picture(), k=10)
    assert [p.index for p in moved] == [(p.index + 1) % 10 for p in before]
    classifier.model.set_offsets(torch.arange(10.0) * 100)
    assert classifier.predict(picture(), k=1)[0].index == 9
    classifier.model.reset_classifier(3)
    with pytest.raises(ValueError, match="3 prototypes and the classifier 10 labels: give it those"):
        classifier.predict(picture())
    classifier.labels = ("a", "b", "c")
    assert len(classifier.predict(picture())) == 3
    assert classifier.embed([]).shape == (0, 64)


def test_a_model_that_is_left_in_training_answers_as_in_evaluation_and_remembers_nothing(digits_bundle):
    classifier = zoo.load(digits_bundle.path)
    embeddings, statistics = classifier.embed(picture()), classifier.model.bn1.running_mean.clone()
    classifier.model.train()
    assert np.array_equal(classifier.embed(picture()), embeddings)
    assert torch.equal(classifier.model.bn1.running_mean, statistics)
