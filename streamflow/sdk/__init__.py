"""All that a plug-in imports: nodes, ports, parameters, operators, sources, sinks, logs, stores, errors."""
