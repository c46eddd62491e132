"""Metrics by name: which direction is better, and between which bounds, of figures of others."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from torch import Tensor

from jointrain.errors import InvalidInputError
from jointrain.metrics import Metric

_BOUNDS: dict[str, dict[str, float | bool]] = {
    "share": {"higher_is_better": True, "lowest": 0.0, "highest": 1.0, "percent_above": 0.1},
    "correlation": {"higher_is_better": True, "lowest": -1.0, "highest": 1.0, "percent_above": 0.1},
    "up to one": {"higher_is_better": True, "highest": 1.0, "percent_above": 0.1},
    "error": {"higher_is_better": False, "lowest": 0.0},
    "log-loss": {"higher_is_better": False, "lowest": 0.0, "percent_above": 0.01},
    "loss": {"higher_is_better": False},
}
"""What is known of each kind of metric, as in `Metric`."""

_NAMES = {
    "share": """accuracy acc balanced_accuracy bacc exact_match em pixel_accuracy pixacc pix_acc
        auc auroc roc_auc rocauc auprc prauc pr_auc average_precision ap map f1 fscore f_score dice
        jaccard iou miou mean_iou precision recall sensitivity specificity mrr ndcg hit_rate
        group_auc gauc c_index cindex concordance concordance_index""",
    "correlation": """mcc matthews kappa cohen_kappa quadratic_kappa weighted_kappa qwk pearson
        spearman correlation corr""",
    "up to one": "r2 r_squared rsquared explained_variance",
    "error": """rmse mse mae mape smape rmsle msle error err error_rate wer cer abs_err rel_err
        absolute_error mean_absolute_error mean_squared_error root_mean_squared_error
        median_absolute_error rank_mae brier perplexity ppl pinball pinball_loss quantile_loss
        rps crps poisson_deviance kl_divergence misplaced_share calibration_error ece""",
    "log-loss": "log_loss logloss cross_entropy crossentropy ce bce",
    "loss": "loss nll",
}

_KNOWN = {name: _BOUNDS[kind] for kind, names in _NAMES.items() for name in names.split()}

_QUALIFYING = """train training val valid validation dev test eval evaluation holdout best final
    last metrics summary epoch macro micro weighted avg mean top top1 top5 at score beyond bounds"""

_QUALIFIERS = frozenset(_QUALIFYING.split())
"""Parts of a name that do not change which direction is better."""


_F_BETA = re.compile(r"(?<![a-z0-9])f(?!1(?![0-9.]))[0-9]+(?:\.[0-9]+)?(?![a-z0-9])")
"""F-scores of other betas than 1, such as ``f0.5``."""


_WORD = re.compile(r"[^\W_]+")

_DASH = "[-\u2010-\u2015\u2212\ufe63\uff0d]"

_OF_A_NUMBER = frozenset({"top", "at", "epoch"})
"""What a number belongs to that comes after it: top-1 accuracy is no 1 - accuracy."""


def known_name(name: str) -> str | None:
    """Return which known metric a name such as ``val/Acc_top1`` is of (``acc``); None: none.

    What is made of a metric, such as ``1-acc``, ``-acc``, ``1/acc`` or ``acc^-1``, is none.
    """
    metric, turned = _read(name)
    return None if turned else metric


def holds_known_name(name: str) -> bool:
    """Return whether a name is that of a known metric, or of what is made of one."""
    return _read(name)[0] is not None


def is_turned(name: str) -> bool:
    """Return whether a name is of what is made of a known metric, such as ``1-acc``."""
    return _read(name)[1]


def _read(name: str) -> tuple[str | None, bool]:
    """Return which known metric a name holds, and whether less of one may be more of the other."""
    plain = _F_BETA.sub("fscore", name.lower().replace("²", "2"))
    found = list(_WORD.finditer(plain))
    parts = [one.group() for one in found]
    ends = [0, *(one.end() for one in found)]
    before = [plain[end : one.start()] for end, one in zip(ends, found, strict=False)]
    count = len(parts)
    # the longest first: `average_precision` is more than `precision`
    for length in range(count, 0, -1):
        for start in range(count - length + 1):
            others = {*parts[:start], *parts[start + length :]}
            inner = "_".join(parts[start : start + length])
            # numbers tell how many rows, or which quantile: NDCG@10, pinball-0.9
            others = {part for part in others if not part.isdigit()}
            if others <= _QUALIFIERS and inner in _KNOWN:
                power = re.search(rf"\^|\*\s*(\*|{_DASH})|\u207b", plain) is not None
                return inner, power or any(_turns(parts, before, i) for i in range(start + 1))
    return None, False


def _turns(parts: Sequence[str], before: Sequence[str], at: int) -> bool:
    """Return whether a sign before a part of a name, or 1- or 1/, turns what comes after it."""
    sign = before[at]
    if at == 0:
        return re.search(_DASH, sign) is not None
    if parts[at - 1].isdigit():
        of = at > 1 and (parts[at - 2] in _OF_A_NUMBER or before[at - 1].endswith("@"))
        return not of and re.search(rf"{_DASH}|/", sign) is not None
    # `val-acc` and `val - acc` are one with a qualifier, `val/-acc` is not
    return re.search(rf"([^\s-]\s*|\s){_DASH}[(\[]*$", sign) is not None


def _figure(name: str, fields: Mapping[str, float | bool]) -> Metric:
    def compute(_prediction: Tensor, _target: Tensor) -> float:
        raise InvalidInputError(f"{name} is known by its name only and can't be computed")

    return Metric(name, compute, **fields)  # type: ignore[arg-type]


def named_metric(
    name: str, values: np.ndarray, higher: Collection[str] = (), lower: Collection[str] = ()
) -> tuple[Metric, str | None]:
    """Return what is known of a metric by its name, and a note where its values are in percent.

    A metric with a highest value of 1 whose values go beyond it, but not beyond 100, is taken as
    percent. A metric that the caller gives a direction has no bounds, unless its name is known and
    of that direction.

    Args:
        name: As it is written, such as ``val/acc``.
        values: [n], all its finite values.
        higher: Names of metrics of which more is better.
        lower: Those of which less is.

    Raises:
        InvalidInputError: The direction is not known, given both ways, or a value is beyond the
            bounds that the metric has by its name.
    """
    if name in higher and name in lower:
        raise InvalidInputError(f"metric {name!r} is given as both higher and lower; give one")
    known = known_name(name)
    said = True if name in higher else False if name in lower else None
    fields = None if known is None else _KNOWN[known]
    if said is not None and (fields is None or fields["higher_is_better"] != said):
        return _figure(name, {"higher_is_better": said}), None
    if fields is None:
        raise InvalidInputError(
            f"whether more or less of metric {name!r} is better is not known; say --higher "
            f"{name!r} or --lower {name!r} (in Python higher= or lower=)"
        )
    lowest, highest = float(fields.get("lowest", -math.inf)), float(fields.get("highest", math.inf))
    least, most = float(values.min(initial=math.inf)), float(values.max(initial=-math.inf))
    if highest == 1 and 1 + 1e-9 < most <= 100 and least >= 100 * lowest:
        in_percent = {**fields, "highest": 100.0, "lowest": 100 * lowest}
        in_percent["percent_above"] = 100 * fields["percent_above"]
        return _figure(name, in_percent), f"{name} reaches {most:g}, so it is taken as percent"
    beyond = most if most > highest + 1e-9 else least if least < lowest - 1e-9 else None
    if beyond is not None:
        raise InvalidInputError(
            f"metric {name!r} is {beyond:g} in a run, which {known} can't be; mend it, or give it "
            "another name and say --higher or --lower"
        )
    return _figure(name, fields), None
