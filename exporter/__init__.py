"""Prometheus exporter for Enphase IQ EV chargers."""

__version__ = "0.1.0"
