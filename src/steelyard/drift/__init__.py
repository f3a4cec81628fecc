"""Drift: where the services, the switches and our own records say different things, and mending that by a plan."""
