"""Which rows of a table are one line of a plot."""

from __future__ import annotations

import pandas as pd

SETTINGS = {
    "dataset": "{}",
    "layer": "{}",
    "prepare": "prepare {}",
    "prepare_copies": "prepare {} copies",
    "norm": "{}",
    "metric": "{} metric",
    "margin": "margin {:g}",
    "param_bound": "bound {:g}",
    "keep": "keep {:g}",
}


def varied(rows: pd.DataFrame) -> list[str]:
    """The settings that differ between rows, so that a mean over them would be of unlike experiments."""
    return [name for name in SETTINGS if rows[name].nunique() > 1]


def series_of(rows: pd.DataFrame) -> pd.Series[str]:
    """The name of each row's series: its type of edit set, and what else differs in this table."""
    names = rows["repair_set_type"].astype(str).str.replace("_", " ")
    for setting in varied(rows):
        names = names + ", " + rows[setting].map(SETTINGS[setting].format)
    return names
