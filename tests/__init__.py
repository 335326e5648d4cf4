"""Tests; one file for each module, contract tests apart."""
