"""Steelyard: bare metal servers for clouds, as easy and as safe as virtual machines."""

__version__ = "0.1.0"
