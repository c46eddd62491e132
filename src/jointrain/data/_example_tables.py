"""Tables that come with jointrain; their sources and licences are in README.md beside them."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from jointrain.data._tables import read_table


def load_energy_efficiency() -> pl.DataFrame:
    """Return the energy efficiency table: 768 rows, 8 features, heating_load and cooling_load.

    Simulated buildings and what they need for heating and cooling, in kWh per square metre.

    Source: Tsanas & Xifara (2012), UCI Machine Learning Repository, doi: 10.24432/C51307, CC BY
        4.0; columns renamed.
    """
    return read_table(Path(__file__).parent / "energy_efficiency.csv")
