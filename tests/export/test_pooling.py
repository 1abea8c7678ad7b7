"""A network that pools by the maximum is loaded again as one."""

from pathlib import Path

import zoo
from export.bundle import export_run
from export.verify import verify_bundle
from training.recipe import load_recipe
from training.train import train


def test_the_pooling_is_the_models_own(tmp_path: Path) -> None:
    fields = {"architecture": "proto_resnet9_cifar", "epochs": 1, "warmup_epochs": 0, "precision": "fp32"}
    recipe = load_recipe("nonl_digits", fields)
    train(recipe, "digits", tmp_path / "run", name="nonl_digits", command="protozoo train", say=lambda line: None)
    bundle = export_run(tmp_path / "run", tmp_path / "bundle")
    assert bundle.config["global_pool"] == bundle.config["model_args"]["global_pool"] == "max"
    verify_bundle(bundle)
    assert zoo.create_model(str(bundle.path), pretrained=True).head.global_pool.pool_type == "max"
