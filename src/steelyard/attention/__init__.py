"""Attention: what needs a human, why, since when, and the next safe command."""
