from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.tiny_bundle import make_tiny_bundle
from tests.training.runs import Protozoo, rows_of
from training.provenance import recorded
from training.recipe import Recipe, load_recipe


def test_help_of_train_lists_every_field_of_a_recipe_and_an_example(protozoo: Protozoo) -> None:
    status, out, _ = protozoo("train", "--help")
    assert status == 0
    for name, field in Recipe.model_fields.items():
        assert f"--{name}" in out
        assert field.description
        assert " ".join(field.description.split()) in " ".join(out.split())
    assert "Example: protozoo train nonl_digits --data digits" in " ".join(out.split())


def test_help_of_evaluate_has_an_example(protozoo: Protozoo) -> None:
    status, out, _ = protozoo("evaluate", "--help")
    assert status == 0
    assert "Example: protozoo evaluate" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nonl_digits", "--epochs", "many"], "epochs = 'many'"),
        (["nonl_digits", "--temperature", "0"], "temperature = 0"),
        (["nonl_digits", "--learning_rate", "1"], "--learning_rate"),
        (["nonl_digits", "--lr", "["], "lr = '['"),
        (["nonl_digits", "--architecture", "resnet50"], "no architecture 'resnet50'"),
        (["nonl_digits", "--optimizer", "sdg"], "optimizer = 'sdg'"),
        (["nonl_digit"], "did you mean nonl_digits"),
        (["nonl_digits", "--seed", "9" * 24], "seed = 999"),
    ],
)
def test_wrong_recipe_or_field_is_one_line_and_status_2(
    protozoo: Protozoo, colours: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    status, _, err = protozoo("train", *words, "--data", colours, "--out", tmp_path / "run")
    assert status == 2
    assert message in err
    assert len(err.splitlines()) == 1
    assert err.startswith("protozoo: ")


def test_wrong_data_folder_is_one_line_and_status_2(protozoo: Protozoo, tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    status, _, err = protozoo("train", "nonl_digits", "--data", missing, "--out", tmp_path / "run")
    assert status == 2
    assert str(missing) in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("missing", ["--data", "--out"])
def test_missing_option_is_one_line_and_status_2(protozoo: Protozoo, tmp_path: Path, missing: str) -> None:
    options = {"--data": "digits", "--out": str(tmp_path / "run")}
    words = [word for name, value in options.items() if name != missing for word in (name, value)]
    status, _, err = protozoo("train", "nonl_digits", *words)
    assert status == 2
    assert missing in err
    assert len(err.splitlines()) == 1


def test_train_lays_options_over_the_recipe_resumes_and_records_no_path(
    protozoo: Protozoo, colours: Path, tiny: Callable[..., Recipe], tmp_path: Path
) -> None:
    recipe, out = tmp_path / "nonl_mine.yaml", tmp_path / "run"
    recipe.write_text(yaml.safe_dump(tiny().model_dump(mode="json")))
    words = ["train", recipe, "--data", colours, "--out", out, "--epochs", "1", "--mean", "[0.4, 0.5, 0.6]"]
    words += ["--batch-size", "20", "--data_name", "CIFAR: a: b", "--storage", "disk", "--workers", "0"]
    status, printed, _ = protozoo(*words)
    assert status == 0
    assert "60 training and 12 test images, 3 classes" in printed
    result = json.loads((out / "result.json").read_bytes())
    expected = tiny(epochs=1, mean=(0.4, 0.5, 0.6), batch_size=20, data_name="CIFAR: a: b")
    assert Recipe(**result["recipe"]) == expected
    assert result["tag"] == "nonl_mine"
    assert result["command"].startswith("protozoo train nonl_mine.yaml --data colours --out RUN ")
    assert "--mean '[0.4, 0.5, 0.6]'" in result["command"]
    assert result["command"].endswith(" --storage disk")
    assert str(tmp_path) not in (out / "result.json").read_text()
    status, printed, _ = protozoo(*words)
    assert status == 0
    assert "is finished already" in printed
    words[words.index("--epochs") + 1] = "2"
    status, _, err = protozoo(*words)
    assert status == 2
    assert "epochs = 1, not 2" in err
    assert len(err.splitlines()) == 1


def test_interrupt_says_how_to_go_on(
    protozoo: Protozoo,
    colours: Path,
    tiny: Callable[..., Recipe],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("training.loop.Training.fit", interrupted)
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(yaml.safe_dump(tiny().model_dump(mode="json")))
    status, _, err = protozoo("train", recipe, "--data", colours, "--out", tmp_path / "run")
    assert status == 130
    assert "run the same command again" in err


def test_evaluate_refuses_classes_that_do_not_fit(protozoo: Protozoo, colours: Path, tmp_path: Path) -> None:
    bundle = make_tiny_bundle(tmp_path / "bundle")
    status, out, err = protozoo("evaluate", bundle.path, "--data", colours)
    assert status == 2
    assert not out
    assert "blue, green, red" in err
    assert "give data with the same classes" in err
    assert len(err.splitlines()) == 1


def test_evaluate_of_no_bundle_is_one_line_and_status_2(protozoo: Protozoo, colours: Path, tmp_path: Path) -> None:
    status, _, err = protozoo("evaluate", tmp_path, "--data", colours)
    assert status == 2
    assert len(err.splitlines()) == 1


def test_tensorboard_has_the_numbers_by_step(
    protozoo: Protozoo, colours: Path, tiny: Callable[..., Recipe], tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(tiny(epochs=2).model_dump(mode="json", exclude_none=True)))
    status, _, err = protozoo("train", tmp_path / "mine.yaml", "--data", colours, "--out", tmp_path / "run")
    assert status == 0, err
    (events,) = (tmp_path / "run").rglob("events.out.tfevents*")
    seen = EventAccumulator(str(events.parent)).Reload()
    rows = rows_of(tmp_path / "run")
    for name in ("loss", "test_accuracy", "test_weight_alignment"):
        assert [(event.step, event.value) for event in seen.Scalars(name)] == [
            (int(row["step"]), pytest.approx(float(row[name]), rel=1e-5)) for row in rows
        ]


@pytest.mark.parametrize(
    ("tracker", "message"),
    [("tensorbord", "there is no tracker 'tensorbord'; accelerate has .*tensorboard"), ("wandb", "pip install wandb")],
)
def test_a_tracker_that_cannot_be_used_is_one_line(
    protozoo: Protozoo, colours: Path, tmp_path: Path, tracker: str, message: str
) -> None:
    words = ("--data", colours, "--out", tmp_path / "run", "--track", tracker)
    status, _, err = protozoo("train", "nonl_digits", *words)
    assert status == 2
    assert re.search(message, err)
    assert not (tmp_path / "run").exists()


def test_the_whole_recipe_can_be_printed_without_data(protozoo: Protozoo, tmp_path: Path) -> None:
    status, out, err = protozoo("train", "nonl_digits", "--lr", "0.3", "--print-recipe")
    assert status == 0, err
    assert "lr: 0.3  # peak learning rate (--lr)" in out
    (tmp_path / "again.yaml").write_text(out)
    assert load_recipe(str(tmp_path / "again.yaml")) == load_recipe("nonl_digits", {"lr": 0.3})


@pytest.mark.parametrize("text", ["r #2", "#2", "Photos: 2024", "[1]", "true", "07"])
def test_a_text_is_taken_as_it_is_typed(protozoo: Protozoo, tmp_path: Path, text: str) -> None:
    status, out, err = protozoo("train", "nonl_digits", "--data_name", text, "--print-recipe")
    assert status == 0, err
    (tmp_path / "again.yaml").write_text(out)
    assert load_recipe(str(tmp_path / "again.yaml")).data_name == text
    status, _, err = protozoo("train", "nonl_digits", "--pretrained", text, "--data", "digits", "--out", tmp_path / "r")
    assert status == 2
    assert repr(text) in err


def test_null_is_no_text(protozoo: Protozoo) -> None:
    status, out, _ = protozoo("train", "nonl_digits", "--data_name", "null", "--pretrained", "~", "--print-recipe")
    assert status == 0
    assert "data_name: null" in out
    assert "pretrained: null" in out


def test_data_and_folder_are_asked_for(protozoo: Protozoo) -> None:
    status, _, err = protozoo("train", "nonl_digits", "--data", "digits")
    assert status == 2
    assert "--data and --out are needed" in err


def test_a_folder_that_weights_go_on_from_is_base_and_a_name_is_itself(tmp_path):
    folder, data = tmp_path / "wide_nonl", tmp_path / "pictures"
    folder.mkdir()
    data.mkdir()
    train = recorded("train", "nonl_cifar10", str(data), "RUN", {"pretrained": str(folder)})
    assert train == "protozoo train nonl_cifar10 --data pictures --out RUN --pretrained BASE"
    assert recorded("fit", str(folder), str(data), "BUNDLE", {}) == "protozoo fit BASE --data pictures --out BUNDLE"
    named = recorded("finetune", "a.b", "digits", "BUNDLE", {"pretrained": "hf-hub:a/b"})
    assert named == "protozoo finetune a.b --data digits --out BUNDLE --pretrained hf-hub:a/b"
    assert recorded("evaluate", str(folder), "digits", None, {}) == "protozoo evaluate wide_nonl --data digits"


def test_the_demo_writes_into_no_folder_that_is_there(protozoo: Protozoo, tmp_path: Path) -> None:
    status, out, err = protozoo("demo", "--out", tmp_path)
    assert (status, out, err) == (2, "", f"protozoo: {tmp_path} exists already: remove it or choose another folder\n")
    assert not any(tmp_path.iterdir())
