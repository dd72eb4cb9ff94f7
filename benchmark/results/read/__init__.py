"""Everything that is read: rows for reports, states for the scheduler, durations for the forecast."""
