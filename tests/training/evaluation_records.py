"""Records of evaluations with numbers by hand."""

from __future__ import annotations

from typing import Any

from zoo.bundle import Bundle


def corruptions_of(bundle: Bundle, **fields: Any) -> dict[str, Any]:
    """A record of ``protozoo corruptions`` with numbers by hand."""
    return {
        "command": "protozoo corruptions BUNDLE --data digits --out RECORD",
        "code_revision": "0",
        "model": bundle.name,
        "weights_sha256": bundle.record["weights"]["sha256"],
        "data": "digits",
        "input_size": 16,
        "source": "made by corrupt-tta 0.1.7, seed 0",
        "images": {"count": 100, "of": 360, "sha256": "0"},
        "clean_error": 0.05,
        "errors": {"fog": {"1": 0.1, "5": 0.3}, "snow": {"1": 0.25, "5": 0.75}},
        "mean_errors": {"fog": 0.2, "snow": 0.5},
        "mean_corruption_error": 0.35,
        "baseline": None,
        **fields,
    }


def transfer_of(bundle: Bundle, **fields: Any) -> dict[str, Any]:
    """A record of ``protozoo transfer`` with numbers by hand."""

    def measured(data: str, measure: str, linear: float, whitened: float) -> dict[str, Any]:
        values = {"linear": linear, "whitened": whitened}
        return {
            "data": data,
            "license": "not stated",
            "classes": 3,
            "train_images": 60,
            "test_images": 12,
            "measure": measure,
            "cost": {"passes": 1, "images": 60, "seconds": 1.5, "device": "cpu"},
            "methods": {
                name: {"value": value, "interval": [value - 0.1, value + 0.1], "seconds": 0.5}
                for name, value in values.items()
            },
        }

    return {
        "kind": "transfer",
        "command": "protozoo transfer BUNDLE --data colours --out RECORD --data voc2007",
        "model": bundle.name,
        "weights_sha256": bundle.record["weights"]["sha256"],
        "input_size": 16,
        "data": "colours; PASCAL VOC 2007",
        "settings": {"methods": ["linear", "whitened"], "epochs": 100, "shots": None, "seed": 0},
        "sets": [
            measured("colours", "top-1 accuracy", 0.5, 0.625),
            measured("PASCAL VOC 2007", "mean average precision", 0.25, 0.375),
        ],
        "means": {"linear": 0.375, "whitened": 0.5},
        "baseline": None,
        **fields,
    }


def probe_of(bundle: Bundle, **fields: Any) -> dict[str, Any]:
    """A record of ``protozoo probe`` with numbers by hand."""
    return {
        "kind": "probe",
        "probe": "linear",
        "command": "protozoo probe linear RUN --data digits --out RECORD",
        "code_revision": "0",
        "model": bundle.name,
        "weights_sha256": bundle.record["weights"]["run_sha256"],
        "data": "digits",
        "features": "encoder",
        "train_images": 60,
        "test_images": 12,
        "test_accuracy": 0.5,
        "test_accuracy_interval": [0.25, 0.75],
        "cost": {"passes": 100, "images": 6000, "seconds": 30.0, "device": "cpu"},
        "settings": {"epochs": 100, "shots": None, "seed": 0},
        **fields,
    }


def prototypes_of(bundle: Bundle, **fields: Any) -> dict[str, Any]:
    """The same of fixed prototypes."""
    return probe_of(
        bundle,
        **{
            "probe": "prototypes",
            "command": "protozoo probe prototypes RUN --data digits --out RECORD",
            "cost": {"passes": 1, "images": 60, "seconds": 0.5, "device": "cpu"},
            "settings": {"features": "projection", "shots": None, "seed": 0},
            **fields,
        },
    )


def convergence_of(bundle: Bundle, **fields: Any) -> dict[str, Any]:
    """A record of ``protozoo convergence`` with numbers by hand: of another run, and of the bundle's."""

    def run(digest: str, share: float) -> dict[str, Any]:
        reached = {"bound": 8.55, "at": 20.0, "share": share, "first": False}
        return {
            "run": "run",
            "weights_sha256": digest,
            "data": "digits",
            "label": "NONL",
            "seed": 0,
            "targets": {"inter_erank": reached, "intra_erank": {**reached, "first": True}},
            "baseline": {"inter_erank": {**reached, "at": None, "share": None}},
        }

    return {
        "kind": "convergence",
        "command": "protozoo convergence run --baseline ce --out RECORD",
        "code_revision": "0",
        "images": "train",
        "over": "step",
        "smoothing": 0.5,
        "baseline": {"run": "ce", "weights_sha256": "1" * 64, "label": "CE", "final": {"inter_erank": 8}, "length": 9},
        "runs": [run("0" * 64, 0.25), run(bundle.record["weights"]["run_sha256"], 0.625)],
        **fields,
    }
