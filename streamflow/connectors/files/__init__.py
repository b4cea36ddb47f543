"""Files as source and sink: JSON lines, CSV, Avro containers, Parquet. Bounded memory, resumable, exactly once."""
