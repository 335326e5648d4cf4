"""Grafana dashboards: the committed JSON and the script that writes it."""
