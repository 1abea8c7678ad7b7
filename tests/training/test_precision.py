"""Where a recipe leaves the precision to the machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from tests.training.runs import Start
from training.precision import machine_precision, settled, strided_over_one_pixel
from training.recipe import Recipe, RecipeError, load_recipe


@pytest.fixture
def cpu_with(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """cpu_with("avx512_bf16", ...): the machine has a CPU alone, with these capabilities and AVX2."""

    def have(*names: str) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        found = {"avx2": True, "avx512_bf16": False, "amx_bf16": False} | dict.fromkeys(names, True)
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)

    return have


@pytest.mark.parametrize(
    ("capability", "precision"), [("avx512_f", "fp32"), ("avx512_bf16", "bf16"), ("amx_bf16", "bf16"), ("bf16", "bf16")]
)
def test_cpu_trains_in_bfloat16_only_where_it_has_instructions_for_it(
    cpu_with: Callable[..., None], capability: str, precision: str
) -> None:
    cpu_with(capability)
    assert machine_precision() == precision


@pytest.mark.parametrize(("supported", "precision"), [(True, "bf16"), (False, "fp32")])
def test_gpu_trains_in_bfloat16_only_where_it_does_not_emulate_it(
    monkeypatch: pytest.MonkeyPatch, supported: bool, precision: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation or supported)
    assert machine_precision() == precision


def test_a_precision_that_was_asked_for_stays(cpu_with: Callable[..., None], tiny: Callable[..., Recipe]) -> None:
    cpu_with()
    assert settled(tiny(precision="bf16")).precision == "bf16"
    cpu_with("amx_bf16")
    assert settled(tiny(precision="fp32"), "bf16").precision == "fp32"


def test_strides_over_one_pixel_are_found() -> None:
    assert strided_over_one_pixel("proto_resnet18", 8) == ("layer3.0.conv1", "layer4.0.conv1")
    assert strided_over_one_pixel("proto_resnet50", 16) == ("layer4.0.conv2",)
    assert strided_over_one_pixel("proto_resnet50", 32) == strided_over_one_pixel("proto_resnet20_cifar", 8) == ()
    assert strided_over_one_pixel("proto_swin_tiny", 224) == ()


def test_cpu_does_not_choose_bfloat16_where_it_leaves_gradients_unwritten(
    cpu_with: Callable[..., None], tiny: Callable[..., Recipe]
) -> None:
    cpu_with("avx512_bf16")
    small = tiny(precision="auto", architecture="proto_resnet18", input_size=16)
    assert settled(small).precision == "fp32"
    assert settled(tiny(precision="auto", architecture="proto_resnet18", input_size=32)).precision == "bf16"


def test_bfloat16_is_refused_where_gradients_are_left_unwritten(
    cpu_with: Callable[..., None], start: Start, tiny: Callable[..., Recipe], tmp_path: Path
) -> None:
    cpu_with("avx512_bf16")
    recipe = tiny(precision="bf16", architecture="proto_resnet18", input_size=16)
    with pytest.raises(RecipeError, match=r"one pixel wide before layer4\.0\.conv1, .* pass --precision fp32, or"):
        start(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_gpu_trains_in_bfloat16_over_one_pixel(monkeypatch: pytest.MonkeyPatch, tiny: Callable[..., Recipe]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    small = tiny(precision="auto", architecture="proto_resnet18", input_size=16)
    assert settled(small).precision == "bf16"


def test_small_recipes_leave_it_to_the_machine() -> None:
    assert load_recipe("nonl_digits").precision == load_recipe("_finetune", _FINETUNE).precision == "auto"


_FINETUNE = {"pretrained": "x", "architecture": "proto_resnet20_cifar"}


def test_run_keeps_what_it_was_begun_with_on_another_machine(
    cpu_with: Callable[..., None], start: Start, tiny: Callable[..., Recipe], tmp_path: Path
) -> None:
    recipe, out = tiny(precision="auto", epochs=1, warmup_epochs=0), tmp_path / "run"
    cpu_with()
    start(recipe, out)
    assert yaml.safe_load((out / "recipe.yaml").read_text())["precision"] == "fp32"
    assert json.loads((out / "result.json").read_text())["recipe"]["precision"] == "fp32"
    cpu_with("amx_bf16")
    assert any("is finished already" in line for line in start(recipe, out))
