"""The strict door to models: what timm's own loading takes on trust is checked, and nothing is random unasked."""

from __future__ import annotations

import difflib
import fnmatch
import warnings
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from zoo.bundle import Bundle, BundleError, find, pretrained_models
from zoo.errors import ProtozooError
from zoo.models.architectures import architectures
from zoo.models.base import PrototypeModel, timm_model
from zoo.plugins import plugin_architectures


def list_models(pattern: str = "*", pretrained: bool = False) -> list[str]:
    """Names of architectures, or with ``pretrained`` of weights (``architecture.tag``), that match a wildcard.

    Those of packages that are installed beside this one are among them: see :mod:`zoo.bundle.catalogue`.
    """
    return fnmatch.filter(sorted(pretrained_models() if pretrained else _architectures()), pattern)


def create_model(name: str, pretrained: bool = False, **kwargs: Any) -> PrototypeModel:
    """Create a model of the zoo.

    Args:
        name: an architecture (random weights), ``architecture.tag`` with ``pretrained=True``, or a bundle (always with
            its weights): ``hf-hub:owner/name[@revision]``, ``local-dir:path`` or a folder.
        pretrained: load weights; an architecture without a tag then means its default one, as in timm.
        kwargs: for the model, as in ``timm.create_model``. Another ``num_classes`` than the weights' gives new, random
            prototypes, with a warning; ``readout="cosine"`` leaves the offsets out of a bundle that has some.

    Raises:
        ProtozooError: an unknown name (the message offers the nearest), or a tag without ``pretrained=True``.
        BundleError: the weights are missing, damaged, or not those that the configuration names, or they lie on the Hub
            and cannot be had from there.
    """
    architecture = name.split(".", maxsplit=1)[0]
    if architecture not in _architectures():
        if name.startswith(("local-dir:", "hf-hub:")) or Path(name).is_dir():
            return _from_bundle(Bundle.open(find(name)), kwargs)
        known = (*_architectures(), *pretrained_models())
        near = difflib.get_close_matches(name, known, n=3) or _architectures()
        raise ProtozooError(f"the zoo has no model {name!r}; did you mean {', '.join(near)}?")
    if pretrained:
        return _from_bundle(Bundle.open(find(name)), kwargs)
    if name != architecture:
        raise ProtozooError(
            f"{name!r} names weights: pass pretrained=True to load them, or ask for {architecture!r} for random ones"
        )
    return timm_model(architecture, pretrained=False, **kwargs)


def _architectures() -> tuple[str, ...]:
    return (*architectures(), *plugin_architectures())


def _from_bundle(bundle: Bundle, kwargs: dict[str, Any]) -> PrototypeModel:
    """Build what config.json describes and load every tensor of model.safetensors."""
    config = bundle.config
    args = {**config.get("model_args", {}), **kwargs}
    args.setdefault("num_classes", config["num_classes"])
    if config["architecture"] not in _architectures():
        raise BundleError(
            f"{bundle.path}: no architecture {config['architecture']!r} is registered: install the package that has it"
        )
    try:
        model = timm_model(
            config["architecture"], pretrained=False, pretrained_cfg=dict(config["pretrained_cfg"]), **args
        )
    except (RuntimeError, TypeError, ValueError) as error:
        raise BundleError(f"{bundle.path}: config.json does not describe a model of this zoo: {error}") from error
    tensors = load_file(bundle.weights_path)
    if bundle.readout["kind"] == "bayes" and args.get("readout") == "cosine":
        del tensors[bundle.readout["tensor"]]
    prototypes = bundle.record["prototypes"]["tensor"]
    if args["num_classes"] != config["num_classes"]:
        warnings.warn(
            f"{bundle.name} has prototypes for {config['num_classes']} classes; those of the {args['num_classes']} "
            "asked for are new and random: train them",
            stacklevel=3,
        )
        classifier = prototypes.rpartition(".")[0] + "."
        missing = {key for key in model.state_dict() if key.startswith(classifier)}
        tensors = {key: tensor for key, tensor in tensors.items() if not key.startswith(classifier)}
    else:
        missing = set()
    try:
        found = model.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        raise BundleError(f"{bundle.weights_path} does not fit {config['architecture']}: {error}") from error
    if set(found.missing_keys) != missing or found.unexpected_keys:
        raise BundleError(
            f"{bundle.weights_path} does not fit {config['architecture']}: missing {found.missing_keys}, unexpected "
            f"{found.unexpected_keys}"
        )
    return model
