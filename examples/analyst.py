"""What a month looked like, asked of an archive: `python analyst.py ARCHIVE`, with `duckdb` and nothing of ours.

The archive is what `greenroom export --to ARCHIVE` writes: `sessions.v1/*.parquet`, a row for each record of the log
(offset, append_ms, key, value, headers), and `usage_events/*.parquet`, a row for each entry of the ledger.
"""

import sys
from pathlib import Path

import duckdb

# The type of a record stands in its headers, what it says is JSON in its value.
EVENTS = """
CREATE VIEW events AS
SELECT
    decode(key) AS session_id,
    to_timestamp(append_ms / 1000) AS appended_at,
    list_filter(headers, lambda h: h.name = 'ce_type')[1].value.decode() AS type,
    decode(value)::JSON AS data
FROM read_parquet('{archive}/sessions.v1/*.parquet')
WHERE value IS NOT NULL
"""
LEDGER = "CREATE VIEW ledger AS SELECT * FROM read_parquet('{archive}/usage_events/**/*.parquet')"

QUESTIONS = {
    "Sessions": "SELECT count(DISTINCT session_id) AS sessions, count(*) AS events FROM events",
    "How they ended": """
        SELECT type, coalesce(data->>'reason', data->>'code') AS why, count(*) AS sessions
        FROM events WHERE type IN ('session.ended', 'session.failed') GROUP BY ALL ORDER BY sessions DESC
    """,
    "From the create to the first frame, in ms": """
        SELECT
            count(*) AS first_frames,
            round(quantile_cont((data->'latencies_ms'->>'first_frame')::DOUBLE, 0.5)) AS p50,
            round(quantile_cont((data->'latencies_ms'->>'first_frame')::DOUBLE, 0.95)) AS p95
        FROM events WHERE type = 'session.first_frame'
    """,
    "Billed": """
        SELECT quality, round(sum(billable_ms) / 60000, 2) AS minutes, round(sum(credit_us) / 6e7, 2) AS credits
        FROM ledger GROUP BY quality ORDER BY credits DESC
    """,
}


def main(archive: Path) -> None:
    connection = duckdb.connect()
    for view in (EVENTS, LEDGER):
        connection.execute(view.format(archive=archive))
    for title, question in QUESTIONS.items():
        print(f"\n{title}")
        print(connection.sql(question))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
