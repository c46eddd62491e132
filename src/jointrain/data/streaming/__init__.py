"""Tables larger than memory: read in row groups, gone through once to be encoded, and streamed."""

from jointrain.data.streaming._row_order import RowOrder
from jointrain.data.streaming._row_reading import RowReading, TypedRows, part_weights
from jointrain.data.streaming._row_stream import RowStream
from jointrain.data.streaming._sketches import Moments
from jointrain.data.streaming._streamed_table import StreamedTable
from jointrain.data.streaming._table_files import Piece, TableFiles
from jointrain.data.streaming._table_sources import (
    is_streamed,
    large_table,
    table_files,
)
from jointrain.data.streaming._text_files import TextFiles

__all__ = [
    "Moments",
    "Piece",
    "RowOrder",
    "RowReading",
    "RowStream",
    "StreamedTable",
    "TableFiles",
    "TextFiles",
    "TypedRows",
    "is_streamed",
    "large_table",
    "part_weights",
    "table_files",
]
