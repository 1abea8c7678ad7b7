import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import zoo
from zoo import cli, listing
from zoo.bundle import Pretrained, pretrained_models

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = sorted({*(point.name for point in entry_points(group="protozoo.commands")), "list", "predict"})


def run(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["protozoo", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    out, err = capsys.readouterr()
    return end.value.code, out, err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(monkeypatch, capsys, command):
    status, out, _ = run(monkeypatch, capsys, command, "--help")
    assert status == 0
    assert "Example:" in out
    assert f"protozoo {command}" in out


def test_help_lists_every_command_and_loads_no_torch():
    code = "import sys; sys.argv = ['protozoo', '--help']\nfrom zoo import cli\n"
    code += "try:\n    cli.main()\nfinally:\n    print('loaded:', {'torch', 'timm', 'bentoml'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(f"  {command} " in done.stdout for command in COMMANDS)
    assert "loaded: set()" in done.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["predict", "nowhere", "a.png"], "neither a folder nor a pretrained model"),
        (["predict", "~nobody-of-that-name/bundle", "a.png"], "neither a folder nor a pretrained model"),
        (["predict", "x" * 300, "a.png"], "neither a folder nor a pretrained model"),
        (["predict", "proto_resnet20_cifar.nonl_cifar10", "nothing.png"], "no such file"),
        (["predict", "proto_resnet20_cifar.nonl_cifar10"], "Missing argument"),
        (["predict", "proto_resnet20_cifar.nonl_cifar10", "a.png", "-k", "many"], "not a valid integer"),
        (["predict", "proto_resnet20_cifar.nonl_cifar10", "a.png", "-k", "0"], "0 is not in the range x>=1"),
        (["predict", "hf-hub:owner/name.git", "a.png"], "'owner/name.git' does not name a model of the Hub"),
        (["card", "hf-hub:a--b/c"], "'a--b/c' does not name a model of the Hub"),
        (["card", "proto_resnet20_cifar.nonl_digits", "--into", f"{__file__}/new"], "new cannot be written (Not a d"),
        (["export", "proto_resnet20_cifar.nonl_digits", "--out", f"{__file__}/new"], "new cannot be written (Not a d"),
        (["verify", "nowhere"], "neither a folder"),
        (["serve", "nowhere"], "neither a folder"),
        (["export", "nowhere", "--out", "x"], "is neither a folder nor a pretrained model"),
        (["list", "nothing*"], "no model matches"),
        (["sing"], "No such command"),
        (["--loud"], "No such option"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(monkeypatch, capsys, words, told):
    status, _, err = run(monkeypatch, capsys, *words)
    assert status == 2
    assert told in err
    assert err.startswith("protozoo: ")
    assert err.count("\n") == 1


def test_a_file_that_cannot_be_had_is_one_line(monkeypatch, capsys):
    def full(name, device):
        raise OSError(28, "No space left on device", "somewhere/x")

    monkeypatch.setattr(zoo, "load", full)
    status, _, err = run(monkeypatch, capsys, "predict", "x", "a.png")
    assert (status, err) == (2, "protozoo: somewhere/x: No space left on device\n")


def test_list_prints_names(monkeypatch, capsys):
    status, out, _ = run(monkeypatch, capsys, "list", "*resnet20_cifar")
    assert (status, out) == (0, "proto_resnet20_cifar\n")


def test_list_of_weights_is_a_table_of_data_accuracy_size_and_place(monkeypatch, capsys):
    status, out, _ = run(monkeypatch, capsys, "list", "proto_resnet20*.nonl_cifar10", "--pretrained")
    header, *rows = out.splitlines()
    assert (status, header.split()) == (0, ["name", "data", "top-1", "MB", "where"])
    assert [row.split("  ") for row in rows] == [
        [
            "proto_resnet20_cifar.nonl_cifar10",
            "CIFAR-10, JPEG copy (quality 75)",
            "88.50%",
            "1.1",
            "in protozoo",
        ]
    ]


@pytest.mark.parametrize(("cached", "place"), [(True, "(cached)"), (False, "(not cached)")])
def test_weights_of_the_hub_are_listed_with_their_repository(monkeypatch, cached, place):
    config = {
        "architecture": "insects_net",
        "pretrained_cfg": {"tag": "nonl", "hf_hub_id": "owner/name@v1"},
        "protozoo": {"weights": {"bytes": 44_700_000}, "metrics": {}, "data": {"name": "beetles"}},
    }
    monkeypatch.setattr(listing, "is_cached", lambda spec: cached)
    line = listing.pretrained_table([Pretrained("insects-zoo", Path(), config)]).splitlines()[1]
    assert line == f"insects_net.nonl  beetles  -      44.7  hf-hub:owner/name@v1 {place}, by insects-zoo"


def test_the_page_of_the_zoo_has_the_table_of_the_records(monkeypatch, capsys):
    status, out, _ = run(monkeypatch, capsys, "list", "--pretrained", "--markdown")
    assert status == 0
    assert "| 88.50 % (87.85 % to 89.11 %) |" in out
    rows = (ROOT / "docs" / "zoo.md").read_text(encoding="utf-8").splitlines()
    # A source distribution has fewer models than a checkout, and the page of all.
    missing = [line for line in out.splitlines() if line not in rows]
    assert not missing, "run `protozoo list --pretrained --markdown` and put it there"


def test_the_first_page_s_table_of_models_is_of_the_records():
    models, rows = pretrained_models(), []
    for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and cells[0].strip("`") in models:
            rows.append(cells)
    assert len(rows) == 5
    for name, data, _, accuracy in rows:
        record = models[name.strip("`")].config["protozoo"]
        told = record["data"]["name"]
        assert data.startswith(told) or told.startswith(data)
        assert accuracy == f"{100 * record['metrics']['test_accuracy']:.2f} %"


def test_what_a_record_does_not_have_is_a_dash_in_markdown():
    config = {
        "architecture": "insects_net",
        "num_classes": 3,
        "num_features": 16,
        "model_args": {"embed_dim": 8},
        "pretrained_cfg": {"tag": "nonl", "input_size": [3, 64, 64]},
        "protozoo": {"objective": "nonl", "data": {"name": "beetles"}, "open_set": {"foreign": None}},
    }
    line = listing.markdown_table([Pretrained("insects-zoo", Path(), config)]).splitlines()[2]
    assert line == f"| `insects_net.nonl` | nonl | beetles | 3, 8 | 64 |{' - |' * 9}"


def test_markdown_is_of_weights(monkeypatch, capsys):
    status, _, err = run(monkeypatch, capsys, "list", "--markdown")
    assert (status, err) == (2, "protozoo: --markdown is of weights: add --pretrained\n")


def test_predict_prints_k_lines_an_image(monkeypatch, capsys, tmp_path):
    path = tmp_path / "grey.png"
    Image.fromarray(np.full((32, 32, 3), 128, np.uint8)).save(path)
    status, out, _ = run(monkeypatch, capsys, "predict", "proto_resnet20_cifar.nonl_cifar10", path, "-k", "3")
    assert status == 0
    assert len(out.splitlines()) == 4


def test_a_package_that_lacks_a_module_is_to_be_upgraded(monkeypatch, capsys):
    def old(name, device):
        raise ModuleNotFoundError("No module named 'click.later'", name="click.later")

    monkeypatch.setattr(zoo, "load", old)
    status, _, err = run(monkeypatch, capsys, "predict", "x", "a.png")
    assert (status, err) == (2, "protozoo: this command needs a newer click: pip install --upgrade 'protozoo[all]'\n")


def test_a_missing_package_says_what_to_install(monkeypatch, capsys):
    def fail(*_, **__):
        raise ModuleNotFoundError("No module named 'bentoml'", name="bentoml")

    monkeypatch.setattr(cli.Commands, "get_command", fail)
    status, _, err = run(monkeypatch, capsys, "serve", "x")
    assert (status, err) == (2, "protozoo: this command needs the package bentoml: pip install 'protozoo[all]'\n")


def test_a_warning_of_this_project_is_one_line_and_one_of_others_says_where_it_is_from():
    code = """
import warnings
import click
from zoo.cli import run_command
from zoo.errors import ProtozooWarning

@click.command()
def command():
    warnings.warn("three images left out", ProtozooWarning)
    warnings.warn("of a library")

run_command(command, "protozoo")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    ours, *others = done.stderr.splitlines()
    assert ours == "protozoo: three images left out"
    assert others[0] == "<string>:10: UserWarning: of a library"
