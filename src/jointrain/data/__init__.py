"""From what the user has to batches: tables, columns, targets, splits and tensors."""

from jointrain.data._arrow_files import read_arrow
from jointrain.data._blocks import Block, known_values
from jointrain.data._bounds import read_bounds
from jointrain.data._chains import with_joint_labels
from jointrain.data._column_shares import ColumnShares, Drift, column_drift, column_shares
from jointrain.data._columns import Column, dropped_columns, infer_columns
from jointrain.data._data_source import DataSource
from jointrain.data._encoder import TableEncoder
from jointrain.data._example_tables import load_energy_efficiency
from jointrain.data._id_notes import numbers_as_text
from jointrain.data._json_lines import json_fault
from jointrain.data._kept_columns import kept_columns, with_kept
from jointrain.data._known_rows import KnownRows, digest_of_rows
from jointrain.data._list_columns import have_several_items, list_columns, lists_as_bags
from jointrain.data._missing_values import is_missing, unmasked
from jointrain.data._picture_folders import PictureFolder, cityscapes, nyuv2
from jointrain.data._plain_encoder import PlainEncoder
from jointrain.data._query_columns import query_columns, query_numbers
from jointrain.data._rare_classes import with_rare_labels
from jointrain.data._raw_table import RawTable, ReadingOptions
from jointrain.data._row_weights import (
    ClassWeights,
    balanced_class_weights,
    check_class_weight_rule,
    check_weighted_labels,
    checked_row_weights,
    effective_rows,
    read_row_weights,
    resolve_class_weights,
)
from jointrain.data._separated_text import read_separated
from jointrain.data._sparse_rows import SparseRows, is_sparse, varying_columns
from jointrain.data._splits import outer_folds, validation_halves, validation_split
from jointrain.data._supervised_table import SupervisedTable, notes_on_tasks
from jointrain.data._table_schema import ColumnReading, TableSchema, number_text
from jointrain.data._table_source import read_raw
from jointrain.data._table_writing import (
    check_text_form,
    check_writable_ending,
    formulas_escaped,
    write_parquet,
    write_parts,
    write_table,
)
from jointrain.data._tables import (
    as_table,
    load_penguins,
    read_table,
    type_raw,
)
from jointrain.data._target_cells import yes_or_no
from jointrain.data._targets import (
    check_target_scale,
    encode_targets,
    infer_tasks,
    said_kind,
    target_columns,
)
from jointrain.data._tensor_data import TensorData, count_rows, map_tensors
from jointrain.data._total_rows import row_of_sums
from jointrain.data._type_inference import TypedTable, type_table
from jointrain.data.streaming import (
    Moments,
    RowStream,
    StreamedTable,
    TableFiles,
    TextFiles,
    TypedRows,
    is_streamed,
    large_table,
    part_weights,
    table_files,
)

__all__ = [
    "Block",
    "ClassWeights",
    "Column",
    "ColumnReading",
    "ColumnShares",
    "DataSource",
    "Drift",
    "KnownRows",
    "Moments",
    "PictureFolder",
    "PlainEncoder",
    "RawTable",
    "ReadingOptions",
    "RowStream",
    "SparseRows",
    "StreamedTable",
    "SupervisedTable",
    "TableEncoder",
    "TableFiles",
    "TableSchema",
    "TensorData",
    "TextFiles",
    "TypedRows",
    "TypedTable",
    "as_table",
    "balanced_class_weights",
    "check_class_weight_rule",
    "check_target_scale",
    "check_text_form",
    "check_weighted_labels",
    "check_writable_ending",
    "checked_row_weights",
    "cityscapes",
    "column_drift",
    "column_shares",
    "count_rows",
    "digest_of_rows",
    "dropped_columns",
    "effective_rows",
    "encode_targets",
    "formulas_escaped",
    "have_several_items",
    "infer_columns",
    "infer_tasks",
    "is_missing",
    "is_sparse",
    "is_streamed",
    "json_fault",
    "kept_columns",
    "known_values",
    "large_table",
    "list_columns",
    "lists_as_bags",
    "load_energy_efficiency",
    "load_penguins",
    "map_tensors",
    "notes_on_tasks",
    "number_text",
    "numbers_as_text",
    "nyuv2",
    "outer_folds",
    "part_weights",
    "query_columns",
    "query_numbers",
    "read_arrow",
    "read_bounds",
    "read_raw",
    "read_row_weights",
    "read_separated",
    "read_table",
    "resolve_class_weights",
    "row_of_sums",
    "said_kind",
    "table_files",
    "target_columns",
    "type_raw",
    "type_table",
    "unmasked",
    "validation_halves",
    "validation_split",
    "varying_columns",
    "with_joint_labels",
    "with_kept",
    "with_rare_labels",
    "write_parquet",
    "write_parts",
    "write_table",
    "yes_or_no",
]
