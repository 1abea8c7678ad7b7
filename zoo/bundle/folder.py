"""Reading a bundle strictly and writing one atomically."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file

from zoo.bundle.foreign import read_config, refuse_foreign
from zoo.bundle.images import Preprocessing
from zoo.bundle.sums import SUMS, check_sums, write_sums
from zoo.errors import BundleError
from zoo.files import staged_folder

FORMAT_VERSION = 1
FILES = ("README.md", "config.json", "golden.safetensors", "model.onnx", "model.safetensors")
_UNIT_TOLERANCE = 1e-4


@dataclass(frozen=True, eq=False)
class Golden:
    """Inputs with the outputs that the exported model gave for them.

    Attributes:
        images: uint8 (n, H, W, 3), RGB, resized and cropped.
        embeddings: float32 (n, d), unit rows.
        cosines: float32 (n, K).
    """

    images: NDArray[np.uint8]
    embeddings: NDArray[np.float32]
    cosines: NDArray[np.float32]


def array_sha256(array: NDArray[Any]) -> str:
    """SHA-256 of an array's values in row-major, little-endian order."""
    contiguous = np.ascontiguousarray(array)
    return hashlib.sha256(contiguous.astype(contiguous.dtype.newbyteorder("<"), copy=False).tobytes()).hexdigest()


def _refuse_other_format(folder: Path) -> None:
    """Before the digests, since a newer format may have other files."""
    try:
        version = read_config(folder)["protozoo"]["format_version"]
    except (OSError, ValueError, KeyError, TypeError):
        return  # the checks that follow say what is wrong with it
    if version != FORMAT_VERSION:
        raise BundleError(
            f"{folder} has bundle format {version}, this version of protozoo reads {FORMAT_VERSION}: "
            "upgrade protozoo or export the model again"
        )


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files were compared with their digests. Make one with :meth:`open`.

    Two are equal that have the same files in the same folder.

    Attributes:
        path: the folder.
        config: the whole ``config.json``: timm's schema and the key ``protozoo``.
        sha256: file name -> digest.
        preprocessing: what the model expects of an image.
        prototypes: float32 (K, d), unit rows, in the order of ``labels``.
        offsets: float32 (K,), what the readout adds to cosine / temperature; zeros where the nearest prototype wins.
    """

    path: Path
    config: Mapping[str, Any] = field(repr=False, compare=False)
    sha256: Mapping[str, str] = field(repr=False, hash=False)
    preprocessing: Preprocessing = field(repr=False, compare=False)
    prototypes: NDArray[np.float32] = field(repr=False, compare=False)
    offsets: NDArray[np.float32] = field(repr=False, compare=False)

    @classmethod
    def open(cls, path: str | Path) -> Bundle:
        """Read and check the bundle in the folder ``path``.

        Raises:
            BundleError: a file is missing, differs from its digest, or contradicts another; it is named.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise BundleError(f"{folder}: no such folder")
        refuse_foreign(folder)
        _refuse_other_format(folder)
        sha256 = check_sums(folder)
        for name in FILES:
            if name not in sha256:
                raise BundleError(f"{folder / SUMS} is damaged: it does not list {name}")
        try:
            config = read_config(folder)
            record = config["protozoo"]
            _ = record["format_version"]
        except (ValueError, KeyError, TypeError) as error:
            raise BundleError(f"{folder / 'config.json'} is not a bundle's configuration ({error!r})") from error
        try:
            prototypes = _read_prototypes(folder, config)
            offsets = _read_offsets(folder, config)
            if record["weights"]["sha256"] != sha256["model.safetensors"]:
                raise BundleError(f"{folder}: config.json names another digest for model.safetensors than SHA256SUMS")
            preprocessing = Preprocessing.from_pretrained_cfg(config["pretrained_cfg"])
            _check_record(config)
            _check_onnx(config, sha256)
            _check_agreement(folder, config)
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(f"{folder / 'config.json'} is incomplete: {error!r}") from error
        bundle = cls(folder, config, sha256, preprocessing, prototypes, offsets)
        _ = bundle.golden  # read now, so that a bundle that opens is whole
        return bundle

    @property
    def name(self) -> str:
        """``architecture.tag``."""
        return f"{self.config['architecture']}.{self.config['pretrained_cfg']['tag']}"

    @property
    def record(self) -> Mapping[str, Any]:
        """The key ``protozoo`` of config.json: objective, data, recipe, metrics, thresholds, revision."""
        record: Mapping[str, Any] = self.config["protozoo"]
        return record

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names, in the order of the prototypes."""
        return tuple(self.config["label_names"])

    @property
    def temperature(self) -> float:
        """Logits are cosines divided by this."""
        return float(self.record["temperature"])

    @property
    def readout(self) -> Mapping[str, Any]:
        """``kind`` is "cosine", or "bayes" with ``prior`` and the ``tensor`` of the offsets."""
        return _readout(self.config)

    @property
    def onnx_path(self) -> Path:
        """The file ``model.onnx``."""
        return self.path / "model.onnx"

    @property
    def onnx_paths(self) -> Mapping[str, Path]:
        """Precision -> ONNX file: always "float32", and those of "float16" and "int8" that were exported."""
        return {row["precision"]: self.path / row["file"] for row in _onnx_rows(self.config)}

    @property
    def weights_path(self) -> Path:
        """The file ``model.safetensors``."""
        return self.path / "model.safetensors"

    @property
    def weights_sha256(self) -> str:
        """Digest of the weights, by which embeddings are bound to the model that made them."""
        return self.sha256["model.safetensors"]

    @cached_property
    def golden(self) -> Golden:
        """The inputs and outputs recorded at export."""
        try:
            tensors = load_file(self.path / "golden.safetensors")
            golden = Golden(tensors["images"], tensors["embeddings"], tensors["cosines"])
        except (SafetensorError, KeyError) as error:
            raise BundleError(f"{self.path / 'golden.safetensors'} cannot be read: {error!r}") from error
        count, size, (classes, dim) = len(golden.images), self.preprocessing.size, self.prototypes.shape
        shapes = (golden.images.shape, golden.embeddings.shape, golden.cosines.shape)
        finite = np.isfinite(golden.embeddings).all() and np.isfinite(golden.cosines).all()
        if not count or shapes != ((count, size, size, 3), (count, dim), (count, classes)) or not finite:
            raise BundleError(
                f"{self.path / 'golden.safetensors'} must hold images (n, {size}, {size}, 3), finite embeddings "
                f"(n, {dim}) and cosines (n, {classes}); it holds {shapes}: export the model again"
            )
        return golden


def _check_record(config: Mapping[str, Any]) -> None:
    """What readers take for granted; a KeyError, TypeError or ValueError says what is missing."""
    record = config["protozoo"]
    texts = (config["architecture"], config["pretrained_cfg"]["tag"], record["objective"], record["code_revision"])
    for text in (*texts, *config["label_names"]):
        if not isinstance(text, str):
            raise TypeError(f"{text!r} must be a string")
    for row in record["open_set"]["thresholds"]:
        if not (0 < row["fpr"] < 1 and -1 <= row["cosine"] <= 1):
            raise ValueError(f"open_set threshold {row!r} is out of range")


def _check_agreement(folder: Path, config: Mapping[str, Any]) -> None:
    """What stands in more than one place must say the same: readers take it from this one or that."""
    where, args, classes = folder / "config.json", config.get("model_args", {}), config["num_classes"]
    temperature, readout = float(config["protozoo"]["temperature"]), _readout(config)
    if not isinstance(args, Mapping):
        raise TypeError(f"model_args {args!r} must map names to values")
    if not (math.isfinite(temperature) and temperature > 0):
        raise BundleError(f"{where}: the temperature must be positive, it is {temperature}")
    for place, fields in (("model_args", args), ("pretrained_cfg", config["pretrained_cfg"])):
        if (found := fields.get("num_classes", classes)) != classes:
            raise BundleError(f"{where}: num_classes is {classes}, and {found} in {place}")
    if (found := args.get("readout", "cosine")) != readout["kind"]:
        raise BundleError(f"{where}: the readout is {readout['kind']}, and {found} in model_args")
    classifier = config["protozoo"]["prototypes"]["tensor"].rpartition(".")[0]
    with safe_open(folder / "model.safetensors", framework="numpy") as tensors:
        names = set(tensors.keys())
        beside = f"{classifier}.temperature"
        of_weights = tensors.get_tensor(beside).item() if beside in names else temperature
    for place, found in (("model_args", args.get("temperature", temperature)), ("model.safetensors", of_weights)):
        if not math.isclose(found, temperature, rel_tol=1e-6):  # the weights have it in float32
            raise BundleError(f"{where}: the temperature is {temperature}, and {found} in {place}")
    told = {readout["tensor"]} if readout["kind"] == "bayes" else set()
    if (kept := names & {f"{classifier}.offsets"}) != told:
        raise BundleError(
            f"{where}: the readout is {readout['kind']} by {', '.join(told) or 'no offsets'}, and model.safetensors "
            f"has {', '.join(kept) or 'no offsets'} beside the prototypes"
        )


def _onnx_rows(config: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    # Bundles of before there was another precision list none.
    rows: Sequence[Mapping[str, Any]] = config["protozoo"].get("onnx", [{"precision": "float32", "file": "model.onnx"}])
    return rows


def _check_onnx(config: Mapping[str, Any], sha256: Mapping[str, str]) -> None:
    """Every ONNX file is described, by its own digest, and every description has its file."""
    rows = _onnx_rows(config)
    described = {row["file"]: row.get("sha256", sha256["model.onnx"]) for row in rows}
    present = {name: digest for name, digest in sha256.items() if name.endswith(".onnx")}
    if described != present:
        raise ValueError(f"the ONNX files it describes are not those that {SUMS} lists: {', '.join(sorted(present))}")
    if [row["file"] for row in rows if row["precision"] == "float32"] != ["model.onnx"]:
        raise ValueError("model.onnx must be the ONNX file in float32")


def _read_prototypes(folder: Path, config: Mapping[str, Any]) -> NDArray[np.float32]:
    path = folder / "model.safetensors"
    prototypes = _read_named(path, config["protozoo"]["prototypes"], "prototypes")
    classes = (config["num_classes"], len(config["label_names"]))
    if prototypes.ndim != 2 or classes != (len(prototypes), len(prototypes)):
        raise BundleError(
            f"{folder / 'config.json'}: num_classes {classes[0]} and {classes[1]} label names do not fit prototypes of "
            f"shape {prototypes.shape}"
        )
    if not np.allclose(np.linalg.norm(prototypes, axis=1), 1, atol=_UNIT_TOLERANCE):
        raise BundleError(f"{path}: the prototypes are not of unit norm")
    return np.asarray(prototypes, dtype=np.float32)


def _readout(config: Mapping[str, Any]) -> Mapping[str, Any]:
    # Bundles of before the readout existed have none.
    readout: Mapping[str, Any] = config["protozoo"].get("readout", {"kind": "cosine"})
    return readout


def _read_offsets(folder: Path, config: Mapping[str, Any]) -> NDArray[np.float32]:
    entry = _readout(config)
    classes = int(config["num_classes"])
    if entry["kind"] == "cosine":
        return np.zeros(classes, np.float32)
    if entry["kind"] != "bayes":
        raise ValueError(f"readout {entry['kind']!r} is neither cosine nor bayes")
    path = folder / "model.safetensors"
    offsets = _read_named(path, entry, "offsets")
    if offsets.shape != (classes,) or not np.isfinite(offsets).all():
        raise BundleError(f"{path}: the offsets of {classes} classes must be {classes} finite numbers")
    return np.asarray(offsets, dtype=np.float32)


def _read_named(path: Path, entry: Mapping[str, Any], what: str) -> NDArray[Any]:
    """The tensor that an entry of config.json names, compared with the digest beside the name."""
    try:
        with safe_open(path, framework="numpy") as tensors:
            values: NDArray[Any] = tensors.get_tensor(entry["tensor"])
    except SafetensorError as error:
        raise BundleError(f"{path} has no {what} {entry['tensor']!r}: {error!r}") from error
    if array_sha256(values) != entry["sha256"]:
        raise BundleError(f"{path}: the {what} are not those that config.json names")
    return values


@contextmanager
def new_bundle(path: str | Path) -> Iterator[Path]:
    """Yield a folder to write a bundle's files into; at the end sign it and move it to ``path`` in one rename.

    Raises:
        ProtozooError: ``path`` exists already.
        BundleError: what was written is not a whole bundle; nothing is left behind.
    """
    with staged_folder(Path(path)) as folder:
        yield folder
        write_sums(folder)
        Bundle.open(folder)
