"""Bundles: a fitted model as a folder of safetensors and JSON.

A bundle holds ``bundle.json`` (what the model is), ``weights.safetensors`` (the networks) and
``encoder.safetensors`` (the fitted encoder). Nothing in it is a pickle, and no library but
safetensors reads it, so loading a bundle from a stranger runs no code of theirs.

The bundle of a blend (`BlendedModel`) holds ``bundle.json`` with the weights of its components, and
``components/0``, ``1``, ...: a bundle for each recipe, and the files of each baseline.

That of own modules (`NetworkModel`) holds ``weights.safetensors``; ``bundle.json`` tells tasks, and
the path and arguments of what makes the networks, which the loader gives.
"""

from jointrain.bundle._bundle import (
    Bundle,
    add_notes,
    check_savable,
    load_bundle,
    read_bundle,
    save_bundle,
    write_bundle,
)
from jointrain.bundle._description import SCHEMA_VERSION, describe_bundle
from jointrain.bundle._modules import StoredModules, network_model_of, stored_modules
from jointrain.bundle._networks import factories_needed
from jointrain.bundle._old_bundle import convert_bundle

__all__ = [
    "SCHEMA_VERSION",
    "Bundle",
    "StoredModules",
    "add_notes",
    "check_savable",
    "convert_bundle",
    "describe_bundle",
    "factories_needed",
    "load_bundle",
    "network_model_of",
    "read_bundle",
    "save_bundle",
    "stored_modules",
    "write_bundle",
]
