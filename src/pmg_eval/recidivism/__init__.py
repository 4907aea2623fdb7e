"""Recidivism."""
