"""The grammar of `matrix.toml` as a JSON Schema, for editors and other programs."""
