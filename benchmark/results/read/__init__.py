"""Queries: rows for reports, states of cells for the scheduler, durations for the forecast, and users' own SQL."""
