"""Who owns tasks: this process on the embedded log, or Faust on Kafka."""
