"""The bundle: the one artefact that training, Python, the Hub and the service exchange. Needs neither torch nor timm.

A bundle is a folder in the Hub's model layout; docs of its files stand in the README. Reading is strict: every file is
compared with ``SHA256SUMS``, the weights and prototypes with the digests in ``config.json``, and nothing that could
execute (a pickle) is ever opened.
"""

from zoo.bundle.catalogue import Pretrained, pretrained_models
from zoo.bundle.find import embedded_names, find
from zoo.bundle.folder import FILES, FORMAT_VERSION, Bundle, Golden, array_sha256, new_bundle
from zoo.bundle.images import Preprocessing
from zoo.errors import BundleError, ImageError, ProtozooError

__all__ = [
    "FILES",
    "FORMAT_VERSION",
    "Bundle",
    "BundleError",
    "Golden",
    "ImageError",
    "Preprocessing",
    "Pretrained",
    "ProtozooError",
    "array_sha256",
    "embedded_names",
    "find",
    "new_bundle",
    "pretrained_models",
]
