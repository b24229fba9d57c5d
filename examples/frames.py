"""A pandas DataFrame as input and output: parquet in the blob store, a frame in the task."""

import pandas as pd
from flytekit import task, workflow


@task
def sample(rows: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "group": ["even" if row % 2 == 0 else "odd" for row in range(rows)],
            "value": [row * row / 4 for row in range(rows)],
        }
    )


@task
def means(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.groupby("group", as_index=False)["value"].mean()


@workflow
def frames(rows: int) -> pd.DataFrame:
    return means(frame=sample(rows=rows))
