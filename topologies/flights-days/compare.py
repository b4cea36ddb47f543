"""The days of all aircraft in DuckDB, beside what the workflow gives."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
DAYS = """
WITH departures AS (
  SELECT *, epoch_ms(time_hour) + (minute + dep_delay) * 60_000 AS left_at
  FROM flights WHERE dep_delay IS NOT NULL AND tailnum IS NOT NULL
), apart AS (
  SELECT *, coalesce(left_at - lag(left_at) OVER (PARTITION BY tailnum ORDER BY left_at) > 8 * 3_600_000, TRUE)::INT
    AS begins
  FROM departures
), numbered AS (
  SELECT *, sum(begins) OVER (PARTITION BY tailnum ORDER BY left_at) AS session FROM apart
)
SELECT tailnum, count(*) AS departures, first(carrier ORDER BY left_at, line) AS carrier,
  count(DISTINCT dest) AS destinations, last(dest ORDER BY left_at, line) AS last_dest,
  min(left_at) AS first_left_at, max(left_at) AS last_left_at, sum(distance) AS miles,
  first(dep_delay ORDER BY left_at, line) AS delay_first, last(dep_delay ORDER BY left_at, line) AS delay_last,
  max(dep_delay) AS delay_max
FROM numbered GROUP BY tailnum, session"""
QUESTIONS = {"flights.aircraft-days": ("aircraft_day.avsc", DAYS)}

if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent))
    import nycflights

    sys.exit(nycflights.main(HERE, QUESTIONS))
