"""Measuring before deciding: how many threads suit cells whose threads are `auto`, and trials of cells never run here."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from benchmark import layout, machine, machine_load, units
from benchmark.catalog.backends import runs_commands
from benchmark.cli.options import MatrixRequest
from benchmark.cli.runs.run_forecast import History, history
from benchmark.cli.terminal import verbosity
from benchmark.errors import UserError
from benchmark.forecast.estimate import Durations
from benchmark.forecast.thread_choice import choose, keep_choice, machine_rate
from benchmark.forecast.trial_store import TrialStore, trial_of
from benchmark.matrix.cell import Cell
from benchmark.matrix.plan import Plan
from benchmark.matrix.speed_key import possible_threads
from benchmark.matrix.trust import require_consent
from benchmark.scheduling.processes.environment import require_backends
from benchmark.scheduling.programs.trials import TrialOutcome, TrialRunner
from benchmark.scheduling.run_options import RunOptions
from benchmark.status import FINAL

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
        chosen |= _measure_threads(first, known.durations, options)
    return request.load(chosen)


def _finished(request: MatrixRequest, plan: Plan, statuses: Mapping[str, str]) -> dict[str, int]:
    """For each speed key whose cells are all finished with some number of threads: the largest such number."""
    finished: dict[str, int] = {}
    if set(FINAL) & set(statuses.values()):
        for threads in possible_threads(machine.cpu_cores()):
            planned = request.load(dict.fromkeys(plan.undecided, threads)).auto
            for speed_key in plan.undecided:
                if planned.get(speed_key) and all(statuses.get(cell_id) in FINAL for cell_id in planned[speed_key]):
                    finished[speed_key] = threads
    return finished


def _measure_threads(cells: Mapping[str, Cell], durations: Durations, options: RunOptions) -> dict[str, int]:
    counts = possible_threads(machine.cpu_cores())
    allowed = {speed_key: cell for speed_key, cell in cells.items() if _may_run(cell, options)}
    _announce_threads(list(allowed.values()), counts, durations)
    chosen: dict[str, int] = {}
    with TrialRunner(allowed.values(), options, verbosity.inform) as runner:
        for speed_key, cell in allowed.items():
            measured, problem = _measure_rates(runner, cell, durations.heaviest_stage(cell), counts, options)
            rates = measured["images_per_second"]
            if not rates:
                _say_untried(cell, problem)
                continue
            chosen[speed_key] = choose(rates)
            by_threads = ", ".join(f"{count}: {rate:,.0f}" for count, rate in rates.items())
            verbosity.inform(
                f"  {_kind_in_words(cell)}: threads = {chosen[speed_key]} (images a second by threads: {by_threads})"
            )
            if measured["disturbed"]:
                cure = f"for a more reliable choice delete {layout.trials_folder(options.cache_root)} when the machine is idle"
                verbosity.inform(f"  note: {measured['disturbed']} meanwhile; {cure}, and measure again", "yellow")
            _keep_choice(options, speed_key, chosen[speed_key], measured)
    return chosen


def _announce_threads(cells: Sequence[Cell], counts: Sequence[int], durations: Durations) -> None:
    each = (durations.begin_seconds(cell) + TOGETHER * trial_seconds() for cell in cells)
    seconds = len(counts) * sum(each) + durations.start_seconds(cells)
    which = " and ".join(filter(None, [", ".join(map(str, counts[:-1])), str(counts[-1])]))
    verbosity.inform(
        f'threads = "auto": measuring the whole machine with cells of {which} thread{"s" * (counts[-1] > 1)}, '
        f"for {units.plural(len(cells), 'kind')} of cells: about {units.seconds(seconds)}, once"
    )


def _measure_rates(
    runner: TrialRunner, cell: Cell, stage: int, counts: Sequence[int], options: RunOptions
) -> tuple[dict[str, Any], str]:
    """For one kind of cells the record that is kept of the measurement, and why a number of threads was not tried.

    The rates are images per second of the whole machine, by number of threads; `copies` says how many workers did them.
    """
    rates, copies, problem, disturbed = {}, {}, "", ""
    for count in counts:
        before = machine_load.load_sample()
        outcomes = runner.try_together(replace(cell, threads=count), stage, TOGETHER * trial_seconds())
        exits = [outcome.exited for outcome in outcomes if outcome.exited is not None]
        own = sum(exited.user_seconds + exited.system_seconds for exited in exits)
        disturbed = machine_load.disturbance(before, machine_load.load_sample(), own, machine.cpu_cores()) or disturbed
        if problems := [outcome.problem for outcome in outcomes if outcome.problem]:
            problem = problems[0]
            continue
        timed = [(each.built, each.tried) for each in outcomes if each.built is not None and each.tried is not None]
        rate = machine_rate(cell, stage, timed)
        if rate is not None:
            rates[count], copies[count] = rate, len(timed)
        if len(cell.stages) == 1:
            _keep_trial(options, outcomes[0])
    return {"model": cell.model, "images_per_second": rates, "copies": copies, "disturbed": disturbed}, problem


def _keep_choice(options: RunOptions, speed_key: str, threads: int, measured: Mapping[str, Any]) -> None:
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
    durations, store = known.durations, TrialStore(options.cache_root)
    first: dict[Hashable, Cell] = {}
    for cell in cells:
        if not durations.are_steps_measured(cell):
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
                _say_untried(outcome.cell, outcome.problem)
            else:
                _keep_trial(options, outcome)


def _keep_trial(options: RunOptions, outcome: TrialOutcome) -> None:
    assert outcome.built is not None
    assert outcome.tried is not None
    assert outcome.exited is not None
    trial = trial_of(outcome.cell, outcome.built, outcome.tried, outcome.exited.peak_rss_bytes)
    try:
        TrialStore(options.cache_root).keep(outcome.cell, trial)
    except OSError as error:
        verbosity.inform(f"note: a trial cannot be kept, and is not used: {error}", "yellow")


def _may_run(cell: Cell, options: RunOptions) -> bool:
    """Whether the cell's backend is there, and its plug-in trusted; a line says what is not. A command is never tried in part."""
    if runs_commands(cell.backend):
        return False
    reason = f"its plug-in {cell.architecture.file} is not trusted; `bench run` says how"
    try:
        require_consent([cell], options.command, allowed=options.allow_plugins)
        reason = f"its backend {cell.backend} is not installed"
        require_backends([cell])
    except UserError:
        _say_untried(cell, reason)
        return False
    return True


def _say_untried(cell: Cell, problem: str) -> None:
    verbosity.inform(f"  {_kind_in_words(cell)}: cannot be tried: {' '.join(problem.split())[:300]}", "yellow")


def _kind_in_words(cell: Cell) -> str:
    batches = "+".join(str(stage.batch_size) for stage in cell.stages)
    return f"{cell.model} on {cell.dataset}, batches of {batches}"
