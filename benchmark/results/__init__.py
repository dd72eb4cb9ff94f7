"""The results database: every SQL statement of the project lives here."""
