"""`bench schema`: the JSON Schema of `matrix.toml`."""

from __future__ import annotations

import sys

from benchmark.cli.options import verb


@verb("schema", "bench schema > matrix.schema.json")
def command() -> None:
    """Print the JSON Schema (draft 2020-12) of matrix.toml.

    Editors complete and check a matrix with it. It takes what `bench plan` takes and refuses unknown keys, wrong types
    and values out of range; whether names exist is left to `bench plan`.
    """
    from benchmark.matrix.json_schema.document_schema import schema_text

    sys.stdout.write(schema_text())
