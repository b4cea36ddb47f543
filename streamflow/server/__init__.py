"""The HTTP side of a log: what others send to workflows over the network. `cli/serve.py` starts it.

Needs the extra `server`; nothing else of streamflow imports this.
"""
