"""Exporting: the model of a bundle as one file that other runtimes read."""

from jointrain.exporting._check import Comparison, compare_exported
from jointrain.exporting._export import export_model
from jointrain.exporting._inputs import Inputs

__all__ = ["Comparison", "Inputs", "compare_exported", "export_model"]
