"""PlainEncoder: feature columns as plain numbers, for models of scikit-learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from jointrain.data._encoder import TableEncoder, _description_to_bytes, _plain_column
from jointrain.data._plain_blocks import ONE_HOT_BLOCKS, PLAIN_BLOCKS, PlainCategories
from jointrain.errors import InvalidInputError
from jointrain.system.stored_files import MISFIT, read_json


class PlainEncoder(TableEncoder):
    """Turns the feature columns of a table into the numbers that one would make by hand.

    By kind of column, each equal to a transformer of scikit-learn:

    - numeric, boolean, durations in seconds, time of day in seconds since midnight:
      ``SimpleImputer(strategy="median", add_indicator=True)``.
    - category: ``OneHotEncoder(handle_unknown="ignore")`` up to 100 categories; of more,
      ``OrdinalEncoder``. A missing value is a category.
    - id: ``OrdinalEncoder``.
    - bag: 0/1 columns of the 100 most frequent values, as `MultiLabelBinarizer`.
    - text: ``TfidfVectorizer(max_features=100)``.
    - datetime: days since 1970, and year, month, day, weekday and hour where they vary. Calendar
      (the column that orders the splits): without the days and the year, which only go on.

    Args:
        codes: Whether columns of more than 100 categories get ordinal codes (default), or a column
            for each of the 100 most frequent categories and one for the others.

    Examples:
        >>> from jointrain.data import PlainEncoder, infer_columns, load_penguins
        >>> frame = load_penguins()
        >>> encoder = PlainEncoder().fit(frame, infer_columns(frame, ["sex", "bill_length_mm"]))
        >>> encoder.feature_names
        ['bill_length_mm', 'bill_length_mm missing', 'sex=female', 'sex=male', 'sex missing']
    """

    dtype = np.float64

    def __init__(self, codes: bool = True) -> None:
        super().__init__(0)
        self.codes = codes
        self.kinds = PLAIN_BLOCKS if codes else ONE_HOT_BLOCKS

    @property
    def code_places(self) -> tuple[int, ...]:
        """Which output columns are ordinal codes."""
        found: list[int] = []
        end = 0
        for block in self._blocks:
            end += len(block.features)
            if isinstance(block, PlainCategories):
                found += range(end - len(block.ordinal), end)
        return tuple(found)

    def save(self, path: str | Path) -> None:
        """Write the encoder to a file of JSON; the same encoder gives the same bytes.

        Raises:
            NotFittedError: `fit` was not called.
            InvalidInputError: It holds more than `load` takes.
        """
        description: dict[str, Any] = {
            "codes": self.codes,
            "columns": [_plain_column(column) for column in self.columns],
            "blocks": [[block.kind, block.state()[0]] for block in self._blocks],
        }
        Path(path).write_bytes(_description_to_bytes(description))

    @classmethod
    def load(cls, path: str | Path) -> PlainEncoder:
        """Read an encoder; nothing in the file is run.

        Raises:
            InvalidInputError: The file does not exist, is damaged, or holds anything but a plain
                encoder.
        """
        path = Path(path)
        try:
            description = read_json(path, folder=path.parent)
            if not isinstance(description["codes"], bool):
                raise _damaged(path)
            encoder = cls(description["codes"])
            encoder._restore(description, {})
        except OSError as error:
            raise InvalidInputError(f"{path} can't be read: {error.strerror}") from None
        except MISFIT:
            raise _damaged(path) from None
        return encoder


def _damaged(path: str | Path) -> InvalidInputError:
    return InvalidInputError(f"{path} is no whole encoder file; use another copy")
