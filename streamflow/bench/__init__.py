"""`streamflow bench`: what a workflow does, measured with data made from the schemas of its topics."""
