"""One writer for each format: a report in, one string out."""
