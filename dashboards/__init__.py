"""Dashboards for the exporter's metrics."""
