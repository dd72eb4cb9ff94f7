"""Compares two groups or selections: what else differs, verdicts, gates, looks, reproduction."""
