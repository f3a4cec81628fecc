"""Isolation: which network each NIC should be on, is on for the controller, and is on for the switch."""
