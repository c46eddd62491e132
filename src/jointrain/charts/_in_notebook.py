"""InNotebook: how an object shows itself where a cell ends with it."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl


class InNotebook:
    """What has a tidy table, and is shown as that in a notebook."""

    def to_frame(self) -> pl.DataFrame:
        """Return what is known as a tidy table."""
        raise NotImplementedError

    def _notebook_title(self) -> str:
        """Return what stands above the table."""
        return type(self).__name__

    def _repr_html_(self) -> str:
        """Return the table as HTML, for notebooks."""
        return f"<p><strong>{escape(self._notebook_title())}</strong></p>{self._table_html()}"

    def _table_html(self) -> str:
        import polars as pl

        with pl.Config(tbl_rows=60, tbl_cols=30, fmt_str_lengths=60):
            return self.to_frame()._repr_html_()
