"""Programs of users as cells: what they are given, what they report, and how they are started and ended."""
