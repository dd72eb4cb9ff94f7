"""From `matrix.toml` to cells: grammar, expansion, identity. All validation of user input lives here."""
