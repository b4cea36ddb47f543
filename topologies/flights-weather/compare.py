"""The weather at each departure of the year in DuckDB, beside what the workflow gives."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
WEATHER = """
WITH departures AS (
  SELECT *, epoch_ms(time_hour) + (minute + dep_delay) * 60_000 AS left_at FROM flights WHERE dep_delay IS NOT NULL
), observations AS (
  SELECT *, epoch_ms(time_hour) AS observed_at FROM weather
), latest AS (
  SELECT f.*, w.* EXCLUDE (origin), left_at - observed_at <= 2 * 3_600_000 AS fresh
  FROM departures f ASOF LEFT JOIN observations w ON f.origin = w.origin AND f.left_at >= w.observed_at
)
SELECT carrier, flight, origin, dest, left_at, dep_delay, if(fresh, observed_at, NULL) AS observed_at,
  if(fresh, temp, NULL) AS temp, if(fresh, wind_speed, NULL) AS wind_speed, if(fresh, precip, NULL) AS precip,
  if(fresh, visib, NULL) AS visib
FROM latest"""
QUESTIONS = {"flights.with-weather": ("flight_with_weather.avsc", WEATHER)}

if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent))
    import nycflights

    sys.exit(nycflights.main(HERE, QUESTIONS))
