"""All flights of the year with aircraft and carrier in DuckDB, beside what the workflow gives."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
PLANES = """
SELECT epoch_ms(f.time_hour) AS time_hour, f.carrier, a.name AS carrier_name, f.flight, f.origin, f.dest, f.tailnum,
  p.manufacturer AS plane_manufacturer, p.model AS plane_model, p.seats AS plane_seats, p.year AS plane_year
FROM flights f JOIN airlines a USING (carrier) LEFT JOIN planes p USING (tailnum)"""
QUESTIONS = {"flights.with-plane": ("flight_with_plane.avsc", PLANES)}

if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent))
    import nycflights

    sys.exit(nycflights.main(HERE, QUESTIONS))
