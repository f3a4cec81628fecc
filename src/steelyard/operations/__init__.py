"""Durable operations: work that somebody asked for, with an id, steps and an end."""
