"""Bundles to the Hugging Face Hub and back: whole, by their digests, each as one commit. Needs no torch."""

from export.hub.plan import Plan, Visibility, plan_push
from export.hub.pull import pull_bundle
from export.hub.push import Pushed, carry_out

__all__ = ["Plan", "Pushed", "Visibility", "carry_out", "plan_push", "pull_bundle"]
