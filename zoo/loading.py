"""The strict door to models: what timm's own loading takes on trust is checked, and nothing is random unasked."""

from __future__ import annotations

import difflib
import fnmatch
import inspect
import os
import warnings
from typing import Any

import timm
from safetensors.torch import load_file

from zoo.bundle import Bundle, BundleError, find, is_bundle, pretrained_models
from zoo.errors import ProtozooError, ProtozooWarning
from zoo.files import is_there
from zoo.models.architectures import architectures
from zoo.models.base import PrototypeModel, for_classes, timm_model
from zoo.plugins import plugin_architectures

# What timm.create_model acts on instead of passing it to the model, and what of it asks for weights.
_OF_TIMM = frozenset(inspect.signature(timm.create_model).parameters) - {"kwargs"}
_WEIGHTS = frozenset({"pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir"})


def list_models(pattern: str = "*", pretrained: bool = False) -> list[str]:
    """Names of architectures, or with ``pretrained`` of weights (``architecture.tag``), that match a wildcard.

    Those of packages that are installed beside this one are among them: see :mod:`zoo.bundle.catalogue`.
    """
    return fnmatch.filter(sorted(pretrained_models() if pretrained else _architectures()), pattern)


def create_model(name: str | os.PathLike[str], pretrained: bool = False, **kwargs: Any) -> PrototypeModel:
    """Create a model of the zoo.

    Args:
        name: an architecture (random weights), ``architecture.tag`` with ``pretrained=True``, or a bundle (always with
            its weights): ``hf-hub:owner/name[@revision]``, ``local-dir:path`` or a folder. A name of the zoo is never
            taken for a folder that happens to be called alike; a ``Path`` always is one.
        pretrained: load weights; an architecture without a tag then means its default one, as in timm.
        kwargs: for the model, as in ``timm.create_model``. Another ``num_classes`` than the weights' gives new
            prototypes, with a warning: random and learned, or those of a geometry where ``prototypes="fixed"`` asks for
            them. ``temperature`` replaces the weights' own; ``readout="cosine"`` leaves the offsets out of a bundle
            that has some.

    Raises:
        ProtozooError: an unknown name (the message offers the nearest), a tag without ``pretrained=True``, or kwargs
            that the weights do not fit; a ``checkpoint_path`` that may be a pickle, which only timm opens.
        BundleError: the weights are missing, damaged, or not those that the configuration names, or they lie on the Hub
            and cannot be had from there.
    """
    if isinstance(name, os.PathLike):
        return load_bundle(Bundle.open(find(name)), **kwargs)
    architecture = name.split(".", maxsplit=1)[0]
    if architecture not in _architectures():
        if is_bundle(name):
            return load_bundle(Bundle.open(find(name)), **kwargs)
        known = (*_architectures(), *pretrained_models())
        near = difflib.get_close_matches(name, known, n=3) or _architectures()
        raise ProtozooError(f"the zoo has no model {name!r}; did you mean {', '.join(near)}?")
    if pretrained:
        return load_bundle(Bundle.open(find(name)), **kwargs)
    if name != architecture:
        raise ProtozooError(
            f"{name!r} names weights: pass pretrained=True to load them, or ask for {architecture!r} for random ones"
        )
    if (checkpoint := kwargs.get("checkpoint_path")) is not None:
        _check_checkpoint(os.fspath(checkpoint))
    return timm_model(architecture, pretrained=False, **kwargs)


def _check_checkpoint(path: str) -> None:
    """Whether timm would read a file by safetensors, which by timm's own rule its name alone decides."""
    if not path.endswith(".safetensors"):
        raise ProtozooError(
            f"checkpoint_path={path!r} may be a pickle, which can run anything: of one that you trust, "
            "safetensors.torch.save_file(torch.load(path, weights_only=True), 'weights.safetensors') makes a file that "
            "is taken"
        )
    if not is_there(path):
        raise ProtozooError(f"checkpoint_path={path!r}: no such file")


def _architectures() -> tuple[str, ...]:
    return (*architectures(), *plugin_architectures())


def load_bundle(bundle: Bundle, **kwargs: Any) -> PrototypeModel:
    """Build what a bundle's config.json describes and load every tensor of its model.safetensors.

    Args:
        bundle: opened, so that its digests agree already.
        kwargs: as of :func:`create_model`.

    Raises:
        ProtozooError: kwargs that the weights do not fit.
        BundleError: the configuration or the weights are not those of a model of the zoo.
    """
    kwargs = {key: value for key, value in kwargs.items() if value is not None}  # as timm has it: not asked for
    config = bundle.config
    model = _build(bundle, kwargs)
    tensors = load_file(bundle.weights_path)
    classifier = bundle.record["prototypes"]["tensor"].rpartition(".")[0] + "."
    if bundle.readout["kind"] == "bayes" and kwargs.get("readout") == "cosine":
        del tensors[bundle.readout["tensor"]]
    new: set[str] = set()  # what the model keeps of its own
    if (classes := kwargs.get("num_classes", config["num_classes"])) != config["num_classes"]:
        if classes > 0:
            what = "random: train them" if model.head.prototype_kind == "learned" else "fixed: train towards them"
            warnings.warn(
                f"{bundle.name} has prototypes for {config['num_classes']} classes; those of the {classes} asked for "
                f"are new and {what}, or put others in their place by set_prototypes",
                ProtozooWarning,
                stacklevel=3,
            )
        new = {key for key in {*tensors, *model.state_dict()} if key.startswith(classifier)}
    elif "temperature" in kwargs:
        new = {f"{classifier}temperature"}
    tensors = {key: tensor for key, tensor in tensors.items() if key not in new}
    try:
        found = model.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        raise _unfit(bundle, kwargs, " ".join(str(error).split())) from error
    if set(found.missing_keys) - new or found.unexpected_keys:
        raise _unfit(bundle, kwargs, f"missing {found.missing_keys}, unexpected {found.unexpected_keys}")
    return model


def _build(bundle: Bundle, kwargs: dict[str, Any]) -> PrototypeModel:
    """The model, not yet with its weights."""
    name, described = bundle.config["architecture"], bundle.config.get("model_args", {})
    if name not in _architectures():
        raise BundleError(f"{bundle.path}: no architecture {name!r} is registered: install the package that has it")
    if refused := sorted(_OF_TIMM & set(described)):  # a checkpoint_path may be a pickle
        raise BundleError(f"{bundle.path}: config.json has {refused[0]} in model_args, which is no argument of a model")
    if refused := sorted(_WEIGHTS & set(kwargs)):
        raise ProtozooError(f"{refused[0]} is not for a bundle, which has its weights: leave it out")
    own = {"num_classes": bundle.config["num_classes"], **described}
    args = {**for_classes(own, kwargs.get("num_classes")), **kwargs}
    try:
        return timm_model(name, pretrained=False, pretrained_cfg=dict(bundle.config["pretrained_cfg"]), **args)
    except Exception as error:  # the arguments are a stranger's, and an architecture may raise anything at them
        why = " ".join(str(error).split())
        if kwargs:
            raise _unfit(bundle, kwargs, why) from error
        raise BundleError(f"{bundle.path}: config.json does not describe a model of this zoo: {why}") from error


def _unfit(bundle: Bundle, kwargs: dict[str, Any], why: str) -> ProtozooError:
    if kwargs:
        asked = ", ".join(f"{name}={value!r}" for name, value in kwargs.items())
        return ProtozooError(f"{bundle.name} cannot be had with {asked}: {why}")
    return BundleError(f"{bundle.weights_path} does not fit {bundle.config['architecture']}: {why}")
