"""A user's own log, small enough to read, and ways to write and to spoil it."""

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
MARKETS = ("ID", "TH")


def user_tables() -> dict[str, pd.DataFrame]:
    """The six tables: two markets, three requests, five events."""
    times = pd.to_datetime(["2026-02-01 10:00", "2026-02-02 11:30", "2026-02-03 09:15"], utc=True)
    return {
        "items": pd.DataFrame(
            {
                "item_id": ["001", "002", "003", "004"],
                "market": ["ID", "ID", "TH", "TH"],
                "title": ["Kaos Polos, Hitam", 'Sepatu "Sneakers" 42', "เคสมือถือ", "หูฟังไร้สาย"],
                "category": ["Fashion", "Fashion", "Phones", "Audio"],
                "price": [45000.0, 250000.0, 99.0, 450.0],
                "brand": ["Viora", None, None, "Sonarc"],
                "colour": ["hitam", "putih", None, None],
            }
        ),
        "users": pd.DataFrame({"user_id": ["u1", "u2"], "market": ["ID", "TH"], "city": ["Bandung", None]}),
        "requests": pd.DataFrame(
            {
                "request_id": ["r1", "r2", "r3"],
                "user_id": ["u1", "u2", "u2"],
                "market": ["ID", "TH", "TH"],
                "domain": ["search", "search", "rec"],
                "query": ["kaos hitam", "เคสมือถือ", None],
                "timestamp": times,
            }
        ),
        "candidates": pd.DataFrame(
            {
                "request_id": ["r1", "r1", "r2", "r2", "r3"],
                "item_id": ["001", "002", "003", "004", "004"],
                "position": pd.array([1, None, 1, 2, 1], dtype="Int32"),
            }
        ),
        "events": pd.DataFrame(
            {
                "event_id": ["e1", "e2", "e3", "e4", "e5"],
                "user_id": ["u1", "u1", "u2", "u2", "u2"],
                "item_id": ["001", "001", "003", "004", "004"],
                "domain": ["search", "search", "search", "rec", "shop"],
                "request_id": ["r1", "r1", "r2", "r3", None],
                "type": ["click", "purchase", "click", "cart", "purchase"],
                "timestamp": times[[0, 0, 1, 2, 2]] + pd.Timedelta(minutes=3),
            }
        ),
        "judgments": pd.DataFrame(
            {
                "query_id": ["q1", "q1", "q2"],
                "market": ["ID", "ID", "TH"],
                "query": ["kaos hitam", "kaos hitam", "เคสมือถือ"],
                "item_id": ["001", "002", "003"],
                "title": ["Kaos Polos, Hitam", 'Sepatu "Sneakers" 42', "เคสมือถือ"],
                "grade": [1.0, 0.0, 1.0],
            }
        ),
    }


def write_tables(tables: dict[str, pd.DataFrame], folder: Path, suffix: str = ".parquet") -> Path:
    """Write each table as `<name><suffix>` into `folder`, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        path = folder / f"{name}{suffix}"
        table.to_parquet(path, index=False) if suffix == ".parquet" else table.to_csv(path, index=False)
    return folder
