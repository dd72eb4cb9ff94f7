"""The register of a report's tables: to add one, write its builder beside this file and name it in `TABLES`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmark.reporting.rows.groups import Pair
    from benchmark.reporting.tables.shown import Part, Shown


@dataclass(frozen=True, slots=True)
class TableKind:
    """One table of a report, or several of one kind.

    Attributes:
        module: Of this folder.
        builder: Its function that makes a `Part` of a `Shown`.
        pairs: Its function that names, of a `Shown`, the pairs of groups that the table judges; empty where it judges
            none. They are judged as one family with those of the other tables, before any is built.
        on_request: Whether it is shown only when it is asked for by name.
        of_the_end: Whether it shows what is measured at the end of a cell alone, so that no budget can be asked of it.
        of_all_machines: Whether it shows the results of all machines where none was asked for.
    """

    module: str
    builder: str
    pairs: str = ""
    on_request: bool = False
    of_the_end: bool = False
    of_all_machines: bool = False

    def build(self, shown: Shown) -> Part:
        """The tables, and notes for the report's end."""
        part: Part = self._function(self.builder)(shown)
        return part

    def judged(self, shown: Shown) -> Iterable[Pair]:
        """The pairs of groups whose differences the table judges."""
        pairs: Iterable[Pair] = self._function(self.pairs)(shown) if self.pairs else ()
        return pairs

    def _function(self, name: str) -> Any:
        return getattr(import_module(f"benchmark.reporting.tables.{self.module}"), name)


TABLES: Mapping[str, TableKind] = {
    "summary": TableKind("summary", "summary", pairs="baseline_pairs"),
    "transfer": TableKind("transfer", "transfers", pairs="judged_transfers"),
    "progression": TableKind("progression", "progressions", pairs="judged_steps"),
    "published": TableKind("beside_published", "published"),
    "rankings": TableKind("rankings", "rankings", on_request=True),
    "pareto": TableKind("pareto", "pareto", on_request=True),
    "time": TableKind("time_to_accuracy", "time_to_accuracy", on_request=True, of_the_end=True),
    "variance": TableKind("variance", "variance", on_request=True),
    "history": TableKind("history", "history", on_request=True, of_the_end=True, of_all_machines=True),
    "calibration": TableKind("calibration", "calibration", on_request=True, of_the_end=True),
    "classes": TableKind("per_class", "classes", on_request=True, of_the_end=True),
    "confusion": TableKind("per_class", "confusion", on_request=True, of_the_end=True),
}
"""All tables, by their name for `--table`, in the order in which they are printed."""
