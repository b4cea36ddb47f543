"""How Faust's own clients come into the cluster: as the Kafka log does."""

from __future__ import annotations

import faust
from faust.auth import Credentials

from streamflow.logs.kafka import KafkaOptions


def credentials(options: KafkaOptions) -> Credentials | None:
    """Faust's credentials for the log's options; None where brokers ask for nothing.

    Raises UsageError where a file for TLS does not fit.
    """
    context = options.ssl_context()
    if options.security_protocol.startswith("SASL"):
        return faust.SASLCredentials(
            mechanism=options.sasl_mechanism,
            username=options.sasl_username,
            password=options.sasl_password.get_secret_value(),
            ssl_context=context,
        )
    return None if context is None else faust.SSLCredentials(context)
