"""`bench schema`: the JSON Schema of `matrix.toml`."""

from __future__ import annotations

import sys

from benchmark.cli.options import verb


@verb("schema", "bench schema > matrix.schema.json")
def command() -> None:
    """Print the JSON Schema (draft 2020-12) of matrix.toml.

    Editors use it to complete and check a matrix. It accepts what `bench plan` accepts, and rejects unknown keys, wrong
    types and values out of range; only `bench plan` checks whether names exist.
    """
    from benchmark.matrix.json_schema.document_schema import schema_text

    sys.stdout.write(schema_text())
