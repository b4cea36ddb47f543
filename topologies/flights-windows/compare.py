"""The delays of the whole year in DuckDB, beside what the workflow gives."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
HOUR_MS = 3_600_000
DELAYS = """
SELECT origin, window_start, window_start + {size} AS window_end,
  count(*) AS flights, count(dep_delay) AS departed, avg(dep_delay) AS delay_mean, max(dep_delay) AS delay_max
FROM (
  SELECT *, (epoch_ms(time_hour) // {advance} - hop) * {advance} AS window_start
  FROM flights, range({size} // {advance}) AS hops(hop)
)
GROUP BY origin, window_start"""
QUESTIONS = {
    "flights.delays-by-hour": ("delays.avsc", DELAYS.format(size=HOUR_MS, advance=HOUR_MS)),
    "flights.delays-over-three-hours": ("delays.avsc", DELAYS.format(size=3 * HOUR_MS, advance=HOUR_MS)),
}

if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent))
    import nycflights

    sys.exit(nycflights.main(HERE, QUESTIONS))
