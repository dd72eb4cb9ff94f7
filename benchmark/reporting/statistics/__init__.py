"""The mathematics of reports as pure functions: numbers in, frozen records out, nothing about rows or tables."""
