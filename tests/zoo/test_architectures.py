import subprocess
import sys

import pytest
import timm
import torch

import zoo
from zoo.models.heads import PrototypeClassifier

NAMES = ["proto_resnet18_cifar", "proto_resnet20_cifar", "proto_resnet32_cifar"]
IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_import_zoo_loads_neither_torch_nor_timm():
    done = python("import sys, zoo; print(sorted({'torch', 'timm', 'torchvision', 'PIL'} & set(sys.modules)))")
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize(
    "imports", ["import zoo, timm", "import timm, zoo", "import zoo.models.heads, timm", "import zoo.models.base, timm"]
)
def test_architectures_register_in_either_import_order(imports):
    done = python(f"{imports}; print(timm.list_models('proto_*'))")
    assert done.stdout.strip() == str(NAMES), done.stderr


def test_lazy_names_are_listed_and_unknown_ones_refused():
    assert set(zoo.__all__) <= set(dir(zoo))
    assert zoo.geometry.simplex_etf(3, 2).shape == (3, 2)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = zoo.nothing


@pytest.mark.parametrize(
    ("name", "backbone_parameters"),
    # He et al. 2016, table 6: 0.27 M and 0.46 M; without their linear classifier of 650 parameters.
    [("proto_resnet20_cifar", 269_072), ("proto_resnet32_cifar", 463_504), ("proto_resnet18_cifar", 11_168_832)],
)
def test_backbones_have_the_size_of_their_papers(name, backbone_parameters):
    model = timm.create_model(name)
    count = sum(parameter.numel() for key, parameter in model.named_parameters() if not key.startswith("head."))
    assert count == backbone_parameters


@pytest.mark.parametrize("name", NAMES)
def test_model_contract(name):
    model = timm.create_model(name, num_classes=7).eval()
    embeddings = model.embed(IMAGES)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(model(IMAGES), embeddings @ model.prototypes.T / model.temperature)
    torch.testing.assert_close(model.prototypes.norm(dim=1), torch.ones(7))
    assert model.temperature == 0.2
    torch.testing.assert_close(model.forward_head(model.forward_features(IMAGES), pre_logits=True), embeddings)


@pytest.mark.parametrize("name", NAMES)
def test_reset_classifier_keeps_prototypes_on_the_sphere(name):
    model = timm.create_model(name, num_classes=7).eval()
    model.reset_classifier(4)
    assert isinstance(model.get_classifier(), PrototypeClassifier)
    assert model(IMAGES).shape == (2, 4)
    model.reset_classifier(0)
    torch.testing.assert_close(model(IMAGES).norm(dim=1), torch.ones(2))
    with pytest.raises(RuntimeError, match="no prototypes"):
        _ = model.prototypes


@pytest.mark.parametrize(
    ("name", "reductions"), [("proto_resnet20_cifar", [1, 1, 2, 4]), ("proto_resnet18_cifar", [1, 1, 2, 4, 8])]
)
def test_feature_maps_have_the_size_they_announce(name, reductions):
    model = timm.create_model(name, features_only=True)
    assert model.feature_info.reduction() == reductions
    for features, channels, reduction in zip(model(IMAGES), model.feature_info.channels(), reductions, strict=True):
        assert features.shape == (2, channels, 32 // reduction, 32 // reduction)


def test_one_channel_and_another_head_are_a_keyword_away():
    model = timm.create_model("proto_resnet20_cifar", in_chans=1, head="mlp", embed_dim=16, temperature=0.1).eval()
    assert model.embed(IMAGES[:, :1]).shape == (2, 16)
    assert model.temperature == 0.1


def test_the_shortcut_of_option_a_subsamples_and_pads():
    model = timm.create_model("proto_resnet20_cifar")
    x = torch.rand(1, 16, 8, 8)
    shortcut = model.layer2[0].downsample(x)
    torch.testing.assert_close(shortcut[:, 8:24], x[:, :, ::2, ::2])
    assert shortcut[:, :8].abs().sum() == shortcut[:, 24:].abs().sum() == 0


@pytest.mark.parametrize("name", NAMES)
def test_every_channel_of_a_new_model_can_learn(name):
    # Zeros from a padding shortcut, plus a residual branch whose last scale starts at 0, never leave their ReLU.
    model = timm.create_model(name, num_classes=7)
    for module in model.modules():
        if isinstance(module, torch.nn.ReLU):
            module.register_forward_hook(lambda module, inputs, output: active.append((output > 0).any((0, 2, 3))))
    active = []
    model(torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    assert len(active) > 10
    assert all(bool(channels.all()) for channels in active)


def test_models_can_be_built_without_memory():
    with torch.device("meta"):
        model = timm.create_model("proto_resnet20_cifar", prototypes="fixed")
    assert all(tensor.is_meta for tensor in model.state_dict().values())


def test_an_unknown_keyword_is_refused():
    with pytest.raises(TypeError):
        timm.create_model("proto_resnet20_cifar", temperatur=0.1)
