"""Tables: recipes, the models that they give, and what a study runs on a table."""

from jointrain.tables._blend import Blend, blend_predictions, choose_blends
from jointrain.tables._blended_model import BlendedModel, FittedBaseline, fit_baseline_to
from jointrain.tables._calibration import Calibration, scale_probabilities
from jointrain.tables._conformal import Residuals
from jointrain.tables._constants import held_out_constants, left_out_constants
from jointrain.tables._explanations import ExplainedOutput, Explanations, explain
from jointrain.tables._fit_table import fit_table, make_data, target_scaling
from jointrain.tables._fitted_blend import fit_blend
from jointrain.tables._fold_runs import (
    TableFoldResult,
    fold_jobs,
    fold_runs,
    measured_rows,
    table_digest,
)
from jointrain.tables._importance import (
    ColumnImportance,
    column_importance,
    unseen_column_importance,
)
from jointrain.tables._partial_fit import PartialFit
from jointrain.tables._promised_losses import ERROR, Promise, PromiseTest, row_losses
from jointrain.tables._row_sample import sample_rows
from jointrain.tables._rows_as_trained import (
    for_read_rows,
    in_double,
    interval_notes,
    read_as_trained,
    reading_notes,
    total_notes,
    unseen_notes,
    unused_notes,
)
from jointrain.tables._streamed_fit import (
    TimeLimit,
    check_streamable,
    fit_streamed,
    row_stream,
    stream_trainer,
)
from jointrain.tables._streamed_predictions import (
    StreamedMetrics,
    evaluate_streamed,
    predict_streamed,
)
from jointrain.tables._table_experiment import TableExperiment
from jointrain.tables._table_model import TableModel
from jointrain.tables._table_predictor import (
    TablePredictor,
    checked_predictions,
    evaluate_predictions,
    predictions_as_table,
)
from jointrain.tables._training_reference import names_to_know_rows_by, training_reference

__all__ = [
    "ERROR",
    "Blend",
    "BlendedModel",
    "Calibration",
    "ColumnImportance",
    "ExplainedOutput",
    "Explanations",
    "FittedBaseline",
    "PartialFit",
    "Promise",
    "PromiseTest",
    "Residuals",
    "StreamedMetrics",
    "TableExperiment",
    "TableFoldResult",
    "TableModel",
    "TablePredictor",
    "TimeLimit",
    "blend_predictions",
    "check_streamable",
    "checked_predictions",
    "choose_blends",
    "column_importance",
    "evaluate_predictions",
    "evaluate_streamed",
    "explain",
    "fit_baseline_to",
    "fit_blend",
    "fit_streamed",
    "fit_table",
    "fold_jobs",
    "fold_runs",
    "for_read_rows",
    "held_out_constants",
    "in_double",
    "interval_notes",
    "left_out_constants",
    "make_data",
    "measured_rows",
    "names_to_know_rows_by",
    "predict_streamed",
    "predictions_as_table",
    "read_as_trained",
    "reading_notes",
    "row_losses",
    "row_stream",
    "sample_rows",
    "scale_probabilities",
    "stream_trainer",
    "table_digest",
    "target_scaling",
    "total_notes",
    "training_reference",
    "unseen_column_importance",
    "unseen_notes",
    "unused_notes",
]
