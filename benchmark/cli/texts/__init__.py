"""The longer answers that verbs print: a plan, a cell, a reason."""
