"""What every architecture of the zoo promises beyond timm's own suite (tests/timm_suite)."""

import copy
import inspect

import pytest
import timm
import torch
from safetensors.torch import load, save
from timm.layers import get_channel_dim, get_spatial_dim
from timm.models import group_parameters

from export.onnx import run_onnx, write_onnx
from zoo.bundle import Preprocessing
from zoo.models.architectures import architectures
from zoo.models.heads import PrototypeClassifier
from zoo.models.pixels import PixelModel

# The least of each class: what a compiler has to understand does not grow with the depth.
SHALLOW = {
    "proto_resnet9_cifar": {},
    "proto_resnet20_cifar": {"layers": (1, 1, 1)},
    "proto_resnet18": {"layers": (1, 1, 1, 1)},
    "proto_swin_tiny": {"depths": (2, 1), "num_heads": (3, 6)},
}


def create(name, **kwargs):
    if timm.get_pretrained_cfg_value(name, "fixed_input_size"):
        kwargs["img_size"] = side(name)
    return timm.create_model(name, **{"num_classes": 7, **kwargs})


def side(name):
    return min(64, timm.get_pretrained_cfg_value(name, "input_size")[-1])


def pictures(name, count, device="cpu"):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, 3, side(name), side(name), generator=generator).to(device)


@pytest.fixture(scope="module", params=architectures())
def name(request):
    return request.param


@pytest.fixture(scope="module")
def shared(name):
    torch.manual_seed(0)
    return create(name).eval()


@pytest.fixture
def model(shared):
    return copy.deepcopy(shared)


def assert_unit(rows, count):
    assert rows.dtype == torch.float32
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(count), atol=1e-6, rtol=0)


@torch.inference_mode()
def test_logits_are_cosines_to_unit_prototypes_over_the_temperature(name, shared):
    images = pictures(name, 2)
    embeddings = shared.embed(images)
    assert_unit(embeddings, 2)
    assert_unit(shared.prototypes, 7)
    assert shared.temperature == 0.2
    torch.testing.assert_close(shared(images), embeddings @ shared.prototypes.T / shared.temperature)
    features = shared.forward_features(images)
    torch.testing.assert_close(shared.forward_head(features, pre_logits=True), embeddings)


@torch.inference_mode()
def test_a_new_classifier_has_prototypes_too(name, model):
    model.reset_classifier(4)
    assert isinstance(model.get_classifier(), PrototypeClassifier)
    assert model(pictures(name, 2)).shape == (2, 4)
    assert_unit(model.prototypes, 4)
    model.reset_classifier(0)
    assert_unit(model(pictures(name, 2)), 2)
    assert not hasattr(model, "prototypes")
    with pytest.raises(AttributeError, match="this model has no prototypes: create it with num_classes > 0"):
        _ = model.prototypes


def test_prototypes_come_back_bit_for_bit_from_a_file(name, shared):
    with torch.device("meta"):
        other = create(name, temperature=0.5)
    other.load_state_dict(load(save(shared.state_dict())), assign=True)
    assert torch.equal(other.head.fc.weight, shared.head.fc.weight)
    assert other.temperature == shared.temperature


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@torch.inference_mode()
def test_half_precision_stays_on_the_sphere(name, model, dtype):
    model.to(dtype)
    assert_unit(model.prototypes, 7)
    assert_unit(model.embed(pictures(name, 1).to(dtype)), 1)


def test_wrong_prototypes_are_refused(shared):
    prototypes, state = shared.prototypes, shared.state_dict()
    for wrong in (prototypes[1:], prototypes * 1.1, prototypes * torch.nan):
        with pytest.raises(ValueError, match="prototypes must be unit rows of shape"):
            shared.set_prototypes(wrong)
    with pytest.raises(RuntimeError, match=r"size mismatch for head\.fc\.weight"):
        shared.load_state_dict({**state, "head.fc.weight": prototypes[1:]})
    del state["head.fc.weight"]
    with pytest.raises(RuntimeError, match=r"Missing key.*head\.fc\.weight"):
        shared.load_state_dict(state)
    assert torch.equal(shared.prototypes, prototypes)


@pytest.mark.parametrize("prototypes", ["learned", "fixed"])
def test_models_can_be_built_without_memory(name, prototypes):
    with torch.device("meta"):
        model = create(name, prototypes=prototypes)
    assert all(tensor.is_meta for tensor in model.state_dict().values())


def test_feature_maps_have_the_size_they_announce(name):
    with torch.device("meta"):
        model = create(name, features_only=True)
    info, order, size = model.feature_info, getattr(model, "output_fmt", "NCHW"), side(name)
    cfg = model.pretrained_cfg
    assert info.reduction()[-1] == cfg["input_size"][-1] // cfg["pool_size"][-1]
    maps = model(pictures(name, 1, "meta"))
    for features, channels, reduction in zip(maps, info.channels(), info.reduction(), strict=True):
        assert features.shape[get_channel_dim(order)] == channels
        assert [features.shape[dim] for dim in get_spatial_dim(order)] == [size // reduction] * 2


def test_one_channel_is_a_keyword_away(name):
    with torch.device("meta"):
        model = create(name, in_chans=1)
    assert model(pictures(name, 2, "meta")[:, :1]).shape == (2, 7)


@torch.no_grad()
def test_every_channel_of_a_new_model_can_learn(name, model):
    # Zeros from a padding shortcut, plus a residual branch whose last scale starts at 0, never leave their ReLU.
    def record(module, inputs, output):
        channels_last = isinstance(module, torch.nn.GELU)
        active.append((output > 0).any((0, 1, 2) if channels_last else (0, 2, 3)))

    active = []
    for key, module in model.train().named_modules():
        if isinstance(module, (torch.nn.ReLU, torch.nn.GELU)) and not key.startswith("head."):
            module.register_forward_hook(record)
    model(pictures(name, 8))
    assert len(active) >= 8
    assert all(bool(channels.all()) for channels in active)


def test_layers_count_from_the_stem_to_the_head(name):
    # What timm's layer-wise learning rates go by: a layer that no pattern knows would learn at the head's rate.
    with torch.device("meta"):
        model = create(name)
    layers = group_parameters(model, model.group_matcher(), reverse=True)
    head = {key: layers.pop(key) for key in list(layers) if key.startswith("head.")}
    assert set(head.values()) == {max(layers.values()) + 1}
    assert layers[f"{model.pretrained_cfg['first_conv']}.weight"] == 0


@pytest.mark.parametrize(("name", "depth"), SHALLOW.items(), scope="function")
@pytest.mark.parametrize("way", ["forward", "forward_intermediates"])
def test_checkpointing_changes_no_gradient(name, depth, way):
    model, images = create(name, **depth).train(), pictures(name, 4)
    gradients = []
    for checkpointing in (False, True):
        model.set_grad_checkpointing(checkpointing)
        torch.manual_seed(0)  # of stochastic depth
        out = getattr(model, way)(images)
        (out[0] if isinstance(out, tuple) else out).square().sum().backward()
        gradients.append({key: p.grad for key, p in model.named_parameters() if p.grad is not None})
        model.zero_grad()
    assert len(gradients[0]) > 8
    for key, gradient in gradients[0].items():
        assert torch.equal(gradients[1][key], gradient), key


@pytest.mark.parametrize(("name", "depth"), SHALLOW.items(), scope="function")
def test_the_compiler_takes_a_model_whole(name, depth):
    model, images = create(name, **depth).eval(), pictures(name, 2)
    # Code generation is torch's own affair and takes half a minute; that one graph holds the model is ours.
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    logits = compiled(images)
    torch.testing.assert_close(logits, model(images))
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("args", [{}, {"num_classes": 0}, {"classifier": "linear"}])
@pytest.mark.parametrize("name", ["proto_resnet9_cifar", "proto_resnet20_cifar"], scope="function")
@torch.no_grad()
def test_a_model_can_be_scripted_with_prototypes_or_without(name, args):
    model, images = create(name, **args).eval(), pictures(name, 2)
    torch.testing.assert_close(torch.jit.script(model)(images), model(images))
    assert {"embed", "forward"} <= {key for key, _ in inspect.getmembers(model)}


@pytest.mark.parametrize(("name", "depth"), SHALLOW.items(), scope="function")
@torch.no_grad()
def test_an_exported_model_takes_any_number_of_images(name, depth):
    model, images = create(name, **depth).eval(), pictures(name, 5)
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(model, (images[:2],), dynamic_shapes=({0: batch},)).module()
    for some in (images, images[:1]):
        torch.testing.assert_close(program(some), model(some))


def test_features_with_channels_last_export_to_onnx(tmp_path):
    name = "proto_swin_tiny"
    model = PixelModel(
        create(name, **SHALLOW[name]), Preprocessing(side(name), 1.0, "bicubic", (0.5,) * 3, (0.25,) * 3)
    )
    write_onnx(model, side(name), tmp_path / "model.onnx", {})
    images = (pictures(name, 3).permute(0, 2, 3, 1) * 255).to(torch.uint8)
    embeddings, cosines = run_onnx(tmp_path / "model.onnx", images.numpy())
    with torch.inference_mode():
        expected = model(images)
    torch.testing.assert_close((torch.from_numpy(embeddings), torch.from_numpy(cosines)), expected, atol=1e-5, rtol=0)
