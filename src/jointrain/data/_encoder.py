"""TableEncoder: from feature columns to network inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl

from jointrain.data._blocks import BLOCKS, Block, NumericBlock, _strings
from jointrain.data._columns import Column, check_finite
from jointrain.data._id_blocks import ID_BLOCKS
from jointrain.data._list_columns import is_list
from jointrain.data._piecewise_linear import PiecewiseLinearEncoding
from jointrain.data._sparse_rows import SparseRows, encode_numeric, fit_numeric, fit_pieces
from jointrain.errors import InvalidInputError, NotFittedError, closest
from jointrain.system import array_file
from jointrain.system.stored_files import (
    MISFIT,
    DamagedError,
    json_from_bytes,
    json_to_bytes,
    read_file,
)
from jointrain.task import CodeColumns


class TableEncoder:
    """Turns the feature columns of a table into finite numbers for a network.

    What it learns, it learns in `fit`; so fit it on training rows only. By kind of column:

    - numeric: centred on the median, divided by the distance of the quartiles and squashed smoothly
      into (-3, 3), so that an outlier can't dominate and a line stays a line near the centre
      (Holzmueller, Grinsztajn & Steinwart, "Better by Default", NeurIPS 2024,
      https://arxiv.org/abs/2407.04491, "robust scale and smooth clip"; chosen over quantiles, which
      bend lines and must be stored, and over standardisation, which one outlier ruins).
    - boolean: 0 and 1.
    - category: a 0/1 column for each of at most 100 frequent categories, one for all rare ones and
      one for missing values. A category never seen in fitting is treated as a rare one; if fitting
      saw no rare ones, all columns are 0.
    - id: one number, the code of the value, for `CategoryEmbeddings` to look a vector up by;
      `code_columns` says which outputs are such. 0 is a missing value, 1 one that fitting never
      saw, 2 one that it saw in one row only: these share a vector. With more than 100,000 values,
      the most frequent have codes of their own, and all others, known or not, one of 16,384 by a
      hash.
    - bag: the codes of the first 32 values, filled up with 0; otherwise as ids.
    - text: at most 30 numbers from a truncated singular value decomposition of the TF-IDF weights
      of hashed character 3- and 4-grams.
    - datetime: seconds since 1970, encoded as a number, and month, weekday and hour as points on a
      circle where they vary. Time: seconds since midnight, likewise. Calendar (the column that
      orders the splits): the points alone, as seconds of a later day were never seen.

    Missing values are filled with the centre, and marked in a column of their own if fitting saw
    any in that column. With `bins`, numbers of more than two values are also given piece by piece:
    `PiecewiseLinearEncoding`, behind all other output columns.

    Args:
        bins: Bins of a number at most; None chooses by how many numbers there are; 0 (default) for
            none.

    Built on numpy, with scikit-learn for the text alone, and not on skrub's TableVectorizer: that
    took 12 s to fit 2000 x 5000 numbers (this: under one), 1.2 s to import, and 25 types to trust
    and 24 MB to save 10 columns. Here a file holds arrays and one text, no classes.

    Examples:
        >>> from jointrain.data import TableEncoder, infer_columns, load_penguins
        >>> frame = load_penguins()
        >>> encoder = TableEncoder().fit(frame, infer_columns(frame, ["island", "bill_length_mm"]))
        >>> encoder.transform(frame).shape
        (344, 5)
    """

    kinds: Mapping[str, type[Block]] = BLOCKS | ID_BLOCKS
    """The encoding of each kind of column, in the order of the outputs."""

    dtype: type[np.floating[Any]] = np.float32
    """Of what `transform` returns."""

    def __init__(self, bins: int | None = 0) -> None:
        self._columns: tuple[Column, ...] | None = None
        self._blocks: list[Block] = []
        self._bins = bins
        self._pieces: PiecewiseLinearEncoding | None = None

    def fit(self, frame: pl.DataFrame, columns: Sequence[Column], seed: int = 0) -> Self:
        """Learn the encoding.

        Args:
            frame: The training rows, at least one.
            columns: The feature columns, at least one.
            seed: Seed of the decomposition of text; default 0.

        Raises:
            InvalidInputError: A column is missing, of unknown kind, of another type than its kind
                says, or holds an infinite value.
        """
        if not columns or frame.height == 0:
            raise InvalidInputError(
                f"an encoder needs at least one column and one row, got {len(columns)} columns and "
                f"{frame.height} rows"
            )
        for column in columns:
            if column.kind not in self.kinds:
                raise InvalidInputError(
                    f"column {column.name!r} has unknown kind {column.kind!r}"
                    f"{closest(column.kind, self.kinds)}; known are "
                    f"{', '.join(self.kinds)}"
                )
        _check_columns(frame, columns)
        blocks = []
        for kind, block in self.kinds.items():
            own = [column for column in columns if column.kind == kind]
            if own:
                blocks.append(block.fit_columns(frame, own, seed))
        self._columns, self._blocks = tuple(columns), blocks
        self._pieces = None
        if self._bins != 0:
            numbers = self._transform_blocks(frame)[:, : self._numbers_width]
            self._pieces = PiecewiseLinearEncoding.fit(numbers, self._bins)
        return self

    @classmethod
    def of_blocks(
        cls,
        columns: Sequence[Column],
        blocks: Sequence[Block],
        sample: pl.DataFrame,
        bins: int | None = 0,
    ) -> Self:
        """Return an encoder of blocks that were learned elsewhere.

        Args:
            columns: The feature columns.
            blocks: Of them, in the order of `kinds`.
            sample: Rows that the edges of bins are learned of.
            bins: As in the constructor.
        """
        made = cls(bins)
        made._columns, made._blocks = tuple(columns), list(blocks)
        if bins != 0:
            numbers = made._transform_blocks(sample)[:, : made._numbers_width]
            made._pieces = PiecewiseLinearEncoding.fit(numbers, bins)
        return made

    def transform(self, frame: pl.DataFrame) -> np.ndarray:
        """Return the network inputs; every number is finite.

        Args:
            frame: A table with the columns that were fitted; others are not looked at.

        Shape:
            returns: [n, d] of `dtype`, d = ``len(feature_names)``.

        Raises:
            InvalidInputError: A column is missing, of another type than in fitting, or holds an
                infinite value.
            NotFittedError: `fit` was not called.
        """
        self._check_types(frame)
        inputs = self._transform_blocks(frame)
        if self._pieces is None:
            return inputs
        return np.concatenate([inputs, self._pieces.transform(inputs)], axis=1)

    def fit_sparse(self, matrix: Any, columns: Sequence[Column]) -> TableEncoder:
        """Learn the encoding that `fit` learns of the dense matrix, without making it.

        Args:
            matrix: Numbers, [n, c]: a sparse matrix of scipy with n >= 1; NaN is missing.
            columns: Its columns, all numeric.
        """
        block = fit_numeric(matrix, [column.name for column in columns])
        self._columns, self._blocks = tuple(columns), [block]
        self._pieces = fit_pieces(matrix, block, self._bins)
        return self

    def transform_sparse(self, matrix: Any) -> SparseRows:
        """Return what `transform` gives, as rows that are dense only batch by batch.

        Args:
            matrix: A sparse matrix with a column for each one that was fitted.

        Raises:
            InvalidInputError: It has other columns, or fitting saw some that are no numbers.
            NotFittedError: `fit` was not called.
        """
        known = len(self.columns)
        numeric = [block for block in self._blocks if isinstance(block, NumericBlock)]
        if len(numeric) != 1 or len(numeric[0].names) != known:
            raise InvalidInputError(
                "a sparse matrix holds numbers, and the model was fitted with columns of other "
                "kinds; give a table with the columns of fitting"
            )
        if matrix.shape[1] != known:
            raise InvalidInputError(
                f"the sparse matrix has {matrix.shape[1]} columns, and the model was fitted with "
                f"{known}"
            )
        return encode_numeric(matrix, numeric[0], self._pieces)

    def _transform_blocks(self, frame: pl.DataFrame) -> np.ndarray:
        inputs = np.empty((frame.height, self.base_width), dtype=self.dtype)
        start = 0
        for block in self._blocks:
            end = start + len(block.features)
            block.transform(frame.select(block.names), inputs[:, start:end])
            start = end
        return inputs

    def unseen(self, frame: pl.DataFrame) -> dict[str, int]:
        """Return in how many rows each column holds a category that fitting never saw.

        Columns without such rows are left out.

        Raises:
            InvalidInputError: As in `transform`.
            NotFittedError: `fit` was not called.
        """
        self._check_types(frame)
        frame = frame.with_columns(pl.col(pl.String).replace("", None))  # missing, no category
        counts = {
            name: int(block.unseen(frame[name]).sum())
            for block in self._blocks
            for name in block.told_unseen
        }
        return {name: count for name, count in counts.items() if count}

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that were fitted.

        Raises:
            NotFittedError: `fit` was not called.
        """
        if self._columns is None:
            raise NotFittedError("the encoder is not fitted; call fit first")
        return self._columns

    @property
    def feature_names(self) -> list[str]:
        """Name of each output column, such as ``island=Biscoe``."""
        names = [name for block in self._blocks for name, _ in block.features]
        if self._pieces is None:
            return names
        lower, upper = self._pieces.edges
        return names + [
            f"{names[index]} from {low:.4g} to {high:.4g}"
            for index, low, high in zip(self._pieces.column, lower, upper, strict=True)
        ]

    @property
    def base_width(self) -> int:
        """Number of output columns before those of the bins."""
        return sum(len(block.features) for block in self._blocks)

    @property
    def _numbers_width(self) -> int:
        """Number of output columns before those of codes and bins."""
        return sum(len(block.features) for block in self._blocks if not block.codes)

    @property
    def code_columns(self) -> tuple[CodeColumns, ...]:
        """Which output columns are codes."""
        found: list[CodeColumns] = []
        start = 0
        for block in self._blocks:
            found += block.code_columns(start)
            start += len(block.features)
        return tuple(found)

    @property
    def source_columns(self) -> list[str]:
        """Name of the table's column that each output column comes from."""
        sources = [source for block in self._blocks for _, source in block.features]
        if self._pieces is None:
            return sources
        return sources + [sources[index] for index in self._pieces.column]

    @property
    def categories(self) -> dict[str, list[str]]:
        """The categories that fitting saw, rare ones too, by column."""
        return {
            name: categories
            for block in self._blocks
            for name, categories in block.categories.items()
        }

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The encodings of the kinds of columns, in the order of the outputs before the bins."""
        return tuple(self._blocks)

    @property
    def pieces(self) -> PiecewiseLinearEncoding | None:
        """The bins of numbers; None if there are none."""
        return self._pieces

    @property
    def centers(self) -> dict[str, float]:
        """The medians of numbers, of dates (seconds since 1970) and of times, by column."""
        return {name: center for block in self._blocks for name, center in block.centers.items()}

    def save(self, path: str | Path) -> None:
        """Write the encoder to a file; the same encoder gives the same bytes.

        Raises:
            NotFittedError: `fit` was not called.
            InvalidInputError: It holds more than `load` takes.
        """
        description: dict[str, Any] = {
            "columns": [_plain_column(column) for column in self.columns],
            "blocks": [],
        }
        arrays: dict[str, np.ndarray] = {}
        for block in self._blocks:
            settings, block_arrays = block.state()
            description["blocks"].append([block.kind, settings])
            arrays |= {f"{block.kind}.{name}": array for name, array in block_arrays.items()}
        if self._pieces is not None:
            arrays |= {f"pieces.{name}": array for name, array in self._pieces.state().items()}
        text = _description_to_bytes(description).decode()
        Path(path).write_bytes(array_file.to_bytes(arrays, text))

    @classmethod
    def load(cls, path: str | Path) -> TableEncoder:
        """Read an encoder; nothing in the file is run.

        Raises:
            InvalidInputError: The file does not exist, is damaged, or holds anything but an
                encoder.
        """
        path = Path(path)
        try:
            text, arrays = array_file.from_bytes(read_file(path, folder=path.parent))
            encoder = cls()
            try:
                description = json_from_bytes(text.encode())
            except DamagedError as error:
                raise DamagedError(f"its description {error}") from None
            encoder._restore(description, arrays)
            return encoder
        except OSError as error:
            raise InvalidInputError(f"{path} can't be read: {error.strerror}") from None
        except DamagedError as error:
            reason = str(error)
        except MISFIT:
            reason = "its parts do not fit together"
        raise InvalidInputError(f"{path} is no whole encoder file: {reason}; use another copy")

    def _restore(self, description: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Take up what was learned; what fits no encoder raises an error of Python's own."""
        self._columns = tuple(Column(*_strings(entry)) for entry in description["columns"])
        for kind, settings in description["blocks"]:
            own = {
                name.removeprefix(f"{kind}."): array
                for name, array in arrays.items()
                if name.startswith(f"{kind}.")
            }
            self._blocks.append(self.kinds[kind].from_state(settings, own))
        pieces = {
            name.removeprefix("pieces."): array
            for name, array in arrays.items()
            if name.startswith("pieces.")
        }
        if pieces:
            self._pieces = PiecewiseLinearEncoding.from_state(pieces)
            if (self._pieces.column >= self._numbers_width).any():
                raise ValueError("bins of a column that is not there")
        kinds = sorted((column.name, column.kind) for column in self._columns)
        named = sorted((name, block.kind) for block in self._blocks for name in block.names)
        if kinds != named or len({name for name, _ in kinds}) < len(kinds) or not kinds:
            raise ValueError("blocks and columns differ")

    def _check_types(self, frame: pl.DataFrame) -> None:
        numeric_text = {name for block in self._blocks for name in block.numeric_text}
        _check_columns(frame, self.columns, numeric_text)


def _plain_column(column: Column) -> list[str]:
    """Return a column as plain values."""
    plain = [column.name, column.kind, column.dtype]
    return [*plain, column.separator] if column.separator else plain


def _description_to_bytes(description: Mapping[str, Any]) -> bytes:
    """Return what an encoder learned, but for arrays, as JSON that can be read again."""
    try:
        return json_to_bytes(description)
    except DamagedError as error:
        raise InvalidInputError(
            f"the encoder can't be saved: its description {error}; give fewer columns, or columns "
            "with fewer categories"
        ) from None


def _check_columns(
    frame: pl.DataFrame, columns: Sequence[Column], numeric_text: set[str] | None = None
) -> None:
    """Refuse missing columns, other types and infinite values.

    Args:
        frame: The table.
        columns: What it must have.
        numeric_text: Columns of strings some of which can be read as numbers, so that a table may
            happen to hold numbers only; None accepts numbers in all columns of strings.
    """
    schema = frame.schema
    missing = [column.name for column in columns if column.name not in schema]
    if len(missing) == 1:
        raise InvalidInputError(
            f"column {missing[0]!r} is missing from the table"
            f"{closest(missing[0], frame.columns)}; the model needs it"
        )
    if missing:
        more = f" and {len(missing) - 8} more" if len(missing) > 8 else ""
        raise InvalidInputError(
            f"columns {', '.join(map(repr, missing[:8]))}{more} are missing from the table; the "
            "model needs them"
        )
    for column in columns:
        dtype = schema[column.name]
        accepted = _accepts(column.kind, dtype)
        if not accepted and column.kind in ("category", "text", "id", "bag"):
            as_numbers = dtype.is_numeric() or dtype == pl.Boolean
            accepted = as_numbers and (numeric_text is None or column.name in numeric_text)
        if not accepted and frame[column.name].null_count() < frame.height:
            values = frame[column.name].drop_nulls()
            raise InvalidInputError(
                f"column {column.name!r} must be {column.kind} ({column.dtype}), got {dtype} such "
                f"as {values[0]!r}; give the column the type that the model was fitted with"
            )
    check_finite(frame, [column.name for column in columns if column.kind == "numeric"])


def _accepts(kind: str, dtype: pl.DataType) -> bool:
    if dtype == pl.Null:
        return True
    match kind:
        case "numeric":
            return dtype.is_numeric() or dtype == pl.Duration
        case "boolean":
            return dtype == pl.Boolean
        case "bag" if is_list(dtype):
            return True
        case "category" | "text" | "id" | "bag":
            return dtype in (
                pl.String,
                pl.Categorical,
                pl.Enum,
            )
        case "datetime" | "calendar":
            return dtype in (pl.Date, pl.Datetime)
        case "time":
            return dtype == pl.Time
    return False
