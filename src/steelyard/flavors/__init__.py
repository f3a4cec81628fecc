"""Flavors and pools: what a tenant asks for, and the nodes that can serve it, counted honestly."""
