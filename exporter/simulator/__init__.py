"""A pretend Enlighten cloud; imports nothing from the exporter it is there to test."""
