import subprocess
import sys

import pytest
import timm
import torch

import zoo

# Name: parameters of the backbone, width of the embedding.
ARCHITECTURES = {
    "proto_resnet9_cifar": (411_664, 128),
    "proto_resnet18": (11_176_512, 512),
    "proto_resnet18_64": (11_168_832, 512),
    "proto_resnet18_cifar": (11_168_832, 512),
    "proto_resnet18_cifar_mlp": (11_168_832, 128),
    "proto_resnet20_cifar": (269_072, 64),
    "proto_resnet32_cifar": (463_504, 64),
    "proto_resnet34": (21_284_672, 512),
    "proto_resnet34_cifar": (21_276_992, 512),
    "proto_resnet44_cifar": (657_936, 64),
    "proto_resnet50": (23_508_032, 2048),
    "proto_resnet50_cifar": (23_500_352, 2048),
    "proto_resnet50_mlp": (23_508_032, 128),
    "proto_resnet56_cifar": (852_368, 64),
    "proto_resnet101": (42_500_160, 2048),
    "proto_resnet152": (58_143_808, 2048),
    "proto_swin_tiny": (27_519_354, 768),
    "proto_wide_resnet9_cifar": (1_453_904, 256),
}


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
    assert done.stdout.strip() == str(list(ARCHITECTURES)), done.stderr


def test_lazy_names_are_listed_and_unknown_ones_refused():
    assert set(zoo.__all__) <= set(dir(zoo))
    assert zoo.geometry.simplex_etf(3, 2).shape == (3, 2)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = zoo.nothing


@pytest.mark.parametrize(("name", "size"), ARCHITECTURES.items())
def test_what_a_name_means_stays(name, size):
    # He et al. 2016, table 6: 0.27, 0.46, 0.66 and 0.85 M; here without the linear classifier of 650 parameters.
    # torchvision's ResNets and Microsoft's Swin-T likewise, without their classifiers.
    with torch.device("meta"):
        model = timm.create_model(name)
    backbone = sum(parameter.numel() for key, parameter in model.named_parameters() if not key.startswith("head."))
    assert (backbone, model.head_hidden_size) == size
    assert model.head.kind == ("mlp" if name.endswith("_mlp") else "linear")
    assert model.head.prototype_kind == "learned"
    assert model.head.initial_temperature == 0.2


def test_the_shortcut_of_option_a_subsamples_and_pads():
    model = timm.create_model("proto_resnet20_cifar")
    x = torch.rand(1, 16, 8, 8)
    shortcut = model.layer2[0].downsample(x)
    torch.testing.assert_close(shortcut[:, 8:24], x[:, :, ::2, ::2])
    assert shortcut[:, :8].abs().sum() == shortcut[:, 24:].abs().sum() == 0


def test_an_unknown_keyword_is_refused():
    with pytest.raises(TypeError):
        timm.create_model("proto_resnet20_cifar", temperatur=0.1)
