"""Measuring before deciding: how many threads suit cells whose threads are `auto`, and trials of cells never run here."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from benchmark import layout, units
from benchmark.cli import verbosity
from benchmark.cli.run_forecast import History, history
from benchmark.errors import UserError
from benchmark.status import FINAL

if TYPE_CHECKING:
    from benchmark.cli.options import MatrixRequest
    from benchmark.forecast.estimate import Durations
    from benchmark.matrix.cell import Cell
    from benchmark.matrix.plan import Plan
    from benchmark.scheduling.programs.trials import TrialOutcome, TrialRunner
    from benchmark.scheduling.run_options import RunOptions

TRIAL_SECONDS = 2.0
"""How long the steady steps of a stage are timed, unless `BENCH_TRIAL_SECONDS` says otherwise."""

TOGETHER = 1.5
"""Several workers at once are timed longer, by this factor: what is chosen by it stays."""


def trial_seconds() -> float:
    """How long steady steps are timed.

    Raises:
        UserError: `BENCH_TRIAL_SECONDS` is no duration.
    """
    given = os.environ.get("BENCH_TRIAL_SECONDS", str(TRIAL_SECONDS))
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 600:
        raise UserError(f"BENCH_TRIAL_SECONDS: expected seconds above 0 and up to 600, found {given[:80]!r}")
    return seconds


# ---- threads


def decide_threads(request: MatrixRequest, plan: Plan, database: str, options: RunOptions) -> Plan:
    """The plan with a number of threads wherever `auto` was undecided, by measurement; what is chosen is kept.

    A kind of cells that are all finished, with whatever number of threads, is not measured: nothing of it is to run.
    One that cannot be tried keeps the assumed number, and a line says why.

    Side effects: starts processes that load the machine for some seconds; fills the cache.
    """
    if not plan.undecided:
        return plan
    known = history(database, options)
    chosen = _finished(request, plan, known.statuses)
    for speed_key, threads in chosen.items():
        _keep_choice(options, speed_key, threads, {"from": "finished cells"})
    cells = {cell.cell_id: cell for cell in plan.cells}
    first = {speed_key: cells[plan.auto[speed_key][0]] for speed_key in plan.undecided if speed_key not in chosen}
    if first:
        chosen |= _measure_threads(first, known.durations_known(), options)
    return request.load(chosen)


def _finished(request: MatrixRequest, plan: Plan, statuses: Mapping[str, str]) -> dict[str, int]:
    """For each speed key whose cells are all finished with some number of threads: the largest such number."""
    from benchmark import machine
    from benchmark.matrix.speed_key import possible_threads

    finished: dict[str, int] = {}
    if set(FINAL) & set(statuses.values()):
        for threads in possible_threads(machine.cpu_cores()):
            planned = request.load(dict.fromkeys(plan.undecided, threads)).auto
            for speed_key in plan.undecided:
                if planned.get(speed_key) and all(statuses.get(cell_id) in FINAL for cell_id in planned[speed_key]):
                    finished[speed_key] = threads
    return finished


@dataclass(slots=True)
class _Rates:
    """What was measured for one kind of cells: images per second of the whole machine, by number of threads.

    Attributes:
        copies: How many workers did them.
        problem: Why a number of threads could not be tried; empty when all could.
        disturbed: What else the machine had to do meanwhile; empty when it had nothing.
    """

    rates: dict[int, float]
    copies: dict[int, int]
    problem: str = ""
    disturbed: str = ""


def _measure_threads(cells: Mapping[str, Cell], durations: Durations, options: RunOptions) -> dict[str, int]:
    from benchmark import machine
    from benchmark.forecast.thread_choice import choose
    from benchmark.matrix.speed_key import possible_threads
    from benchmark.scheduling.programs.trials import TrialRunner

    counts = possible_threads(machine.cpu_cores())
    allowed = {speed_key: cell for speed_key, cell in cells.items() if _may_run(cell, options)}
    _announce_threads(list(allowed.values()), counts, durations)
    chosen: dict[str, int] = {}
    with TrialRunner(allowed.values(), options, verbosity.inform) as runner:
        for speed_key, cell in allowed.items():
            measured = _rates_of(runner, cell, durations.heaviest_stage(cell), counts, options)
            if not measured.rates:
                verbosity.inform(f"  {_kind_in_words(cell)}: cannot be tried: {_one_line(measured.problem)}", "yellow")
                continue
            chosen[speed_key] = choose(measured.rates)
            rates = ", ".join(f"{count}: {rate:,.0f}" for count, rate in measured.rates.items())
            verbosity.inform(
                f"  {_kind_in_words(cell)}: threads = {chosen[speed_key]} (images a second by threads: {rates})"
            )
            if measured.disturbed:
                cure = f"for a surer choice delete {layout.trials_folder(options.cache_root)} when the machine is quiet"
                verbosity.inform(f"  note: {measured.disturbed} meanwhile; {cure}, and measure again", "yellow")
            record = {"model": cell.model, "images_per_second": measured.rates}
            record |= {"copies": measured.copies, "disturbed": measured.disturbed}
            _keep_choice(options, speed_key, chosen[speed_key], record)
    return chosen


def _announce_threads(cells: Sequence[Cell], counts: Sequence[int], durations: Durations) -> None:
    each = (durations.begin_seconds(cell) + TOGETHER * trial_seconds() for cell in cells)
    seconds = len(counts) * sum(each) + durations.start_seconds(cells)
    which = " and ".join(filter(None, [", ".join(map(str, counts[:-1])), str(counts[-1])]))
    verbosity.inform(
        f'threads = "auto": measuring the whole machine with cells of {which} thread{"s" * (counts[-1] > 1)}, '
        f"for {units.plural(len(cells), 'kind')} of cells: about {units.seconds(seconds)}, once"
    )


def _rates_of(runner: TrialRunner, cell: Cell, stage: int, counts: Sequence[int], options: RunOptions) -> _Rates:
    from benchmark import machine
    from benchmark.forecast.thread_choice import machine_rate

    measured = _Rates({}, {})
    for count in counts:
        before = machine.load_sample()
        outcomes = runner.try_together(replace(cell, threads=count), stage, TOGETHER * trial_seconds())
        exits = [outcome.exited for outcome in outcomes if outcome.exited is not None]
        own = sum(exited.user_seconds + exited.system_seconds for exited in exits)
        disturbed = machine.disturbance(before, machine.load_sample(), own, machine.cpu_cores())
        measured.disturbed = disturbed or measured.disturbed
        if problem := next((outcome.problem for outcome in outcomes if outcome.problem), ""):
            measured.problem = problem
            continue
        timed = [(each.built, each.tried) for each in outcomes if each.built is not None and each.tried is not None]
        rate = machine_rate(cell, stage, timed)
        if rate is not None:
            measured.rates[count], measured.copies[count] = rate, len(timed)
        if len(cell.stages) == 1:
            _keep_trial(options, outcomes[0])
    return measured


def _keep_choice(options: RunOptions, speed_key: str, threads: int, measured: Mapping[str, Any]) -> None:
    from benchmark.forecast.thread_choice import keep_choice

    try:
        keep_choice(options.cache_root, speed_key, threads, measured)
    except OSError as error:
        verbosity.inform(f"note: the number of threads cannot be kept, and may be another next time: {error}", "yellow")


# ---- trials


def probe(cells: Sequence[Cell], known: History, options: RunOptions) -> None:
    """Tries one of each kind of cells that was never measured on this machine and never tried.

    What cannot be tried is told in a line each, and planned without.

    Side effects: starts processes that load the machine for some seconds; fills the cache; never opens a database for
    writing.
    """
    from benchmark.forecast.trial_store import TrialStore
    from benchmark.scheduling.programs.trials import TrialRunner

    durations, store = known.durations_known(), TrialStore(options.cache_root)
    first: dict[Hashable, Cell] = {}
    for cell in cells:
        if not durations.is_measured(cell):
            first.setdefault(durations.kind_of(cell), cell)
    kinds = [cell for cell in first.values() if store.find(cell) is None and _may_run(cell, options)]
    if not kinds:
        return
    each = sum(durations.begin_seconds(cell) + trial_seconds() * len(cell.stages) for cell in kinds)
    verbosity.inform(
        f"trying a cell of each of {units.plural(len(kinds), 'kind')} that this machine has never run: "
        f"at most about {units.seconds(each + durations.start_seconds(kinds))}"
    )
    with TrialRunner(kinds, options, verbosity.inform) as runner:
        for outcome in runner.try_each(kinds, trial_seconds()):
            if outcome.problem:
                reason = _one_line(outcome.problem)
                verbosity.inform(f"  {_kind_in_words(outcome.cell)}: cannot be tried: {reason}", "yellow")
            else:
                _keep_trial(options, outcome)


def _keep_trial(options: RunOptions, outcome: TrialOutcome) -> None:
    from benchmark.forecast.trial_store import TrialStore, trial_of

    assert outcome.built is not None
    assert outcome.tried is not None
    assert outcome.exited is not None
    trial = trial_of(outcome.built, outcome.tried, outcome.exited.peak_rss_bytes)
    try:
        TrialStore(options.cache_root).keep(outcome.cell, trial)
    except OSError as error:
        verbosity.inform(f"note: a trial cannot be kept, and is not used: {error}", "yellow")


def _may_run(cell: Cell, options: RunOptions) -> bool:
    """Whether the cell's backend is there, and its plug-in trusted; a line says what is not."""
    from benchmark.matrix.trust import require_consent
    from benchmark.scheduling.processes.environment import require_backends

    reason = f"its plug-in {cell.architecture.file} is not trusted; `bench run` says how"
    try:
        require_consent([cell], options.command, allowed=options.allow_plugins)
        reason = f"its backend {cell.backend} is not installed"
        require_backends([cell])
    except UserError:
        verbosity.inform(f"  {_kind_in_words(cell)}: cannot be tried: {reason}", "yellow")
        return False
    return True


def _kind_in_words(cell: Cell) -> str:
    batches = "+".join(str(stage.batch_size) for stage in cell.stages)
    return f"{cell.model} on {cell.dataset}, batches of {batches}"


def _one_line(problem: str) -> str:
    return " ".join(problem.split())[:300]
