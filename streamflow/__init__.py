"""streamflow: workflows compiled into Kafka topics and columnar stream tasks, exactly once."""

__version__ = "0.1.0"
