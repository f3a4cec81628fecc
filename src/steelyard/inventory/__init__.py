"""Inventory: every node in one view, joined from Ironic, Nova and the network controller."""
