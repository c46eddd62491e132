"""Where `--help` shows each flag."""

from __future__ import annotations

from jointrain.options import OptimizerOptions, RecipeOptions, options_of

EVERYDAY, TRAINING = "Everyday", "Training"

PANELS: dict[str, tuple[str, ...]] = {
    EVERYDAY: (
        "targets", "ignore", "id", "group", "time", "task", "budget", "schedule", "out", "force",
        "workers",
    ),
    "Data": (
        "encoding", "separator", "comment", "column", "category", "text", "bag", "missing",
        "decimal", "thousands", "date_format", "time_zone", "row_weight", "class_weights", "rare",
        "duplicates", "metric", "query", "given",
    ),
    TRAINING: (
        "weights", "balancer", "balancer_option", "refresh_every", "order", "probabilities",
        "temperature", "block", "groups", "auxiliary", "network", "network_option", "width",
        "depth", "shared_depth", "bins", "ensemble", "epochs", "batch_size", "learning_rate",
        "weight_decay", "id_decay", "dropout", "input_dropout", "l1", "l2", "gradient_clip",
        "optimizer", "optimizer_layout", "momentum", "warm_up", "decay", "lr_scheduler",
        "lr_scheduler_option", "lr_scheduler_every", "parameter_group", "patience",
        "when_converged", "task_patience", "converged_weight", "validation_fraction",
        "precision", "compile", "accumulate", "ema", "non_finite", "non_finite_limit", "device",
        "seed",
    ),
    "Study": (
        "recipes", "baselines", "ship", "folds", "seeds", "trials", "models", "measure", "pareto",
        "importance", "margin", "equal", "study", "executor", "checkpoints", "checkpoint_every",
        "resume", "log", "log_to",
    ),
    "Output": ("json", "config"),
}  # fmt: skip
"""Where `--help` shows each flag, in this order."""


_OPTIONS = {
    known.flag or name
    for options in (OptimizerOptions, RecipeOptions)
    for name, known in options_of(options).items()
}


def panel_of(flag: str) -> tuple[int, int, str]:
    """Return the place of a flag in `--help`: number of its panel, place in it, the panel's name.

    Options of training that no panel names come last in theirs.

    Raises:
        KeyError: No panel has the flag.
    """
    for number, (panel, flags) in enumerate(PANELS.items()):
        if flag in flags:
            return number, flags.index(flag), panel
    if flag in _OPTIONS:
        return list(PANELS).index(TRAINING), len(PANELS[TRAINING]), TRAINING
    raise KeyError(flag)
