"""How commands and notebooks get a report, a comparison or a verdict from a database, with its figures and its page."""
