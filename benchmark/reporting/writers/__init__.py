"""A writer for each output format: a report in, one string out."""
