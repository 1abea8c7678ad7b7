"""Models whose classes are points on the unit sphere, on timm's backbones."""

# Before any module of this package: importing timm registers the architectures, which need those modules whole.
import timm  # noqa: F401
