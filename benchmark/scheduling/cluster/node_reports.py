"""What a run makes of the reports of its nodes: they are ready, cells begin, train and end."""

from __future__ import annotations

import time

from benchmark.events import EpochFinished, ModelBuilt, Progress, from_line
from benchmark.matrix.cell import Cell
from benchmark.scheduling.cluster.cluster_context import PLACEMENTS, ClusterRun
from benchmark.scheduling.cluster.messages import (
    AttemptEnded,
    Begun,
    LeftPending,
    Message,
    Preparing,
    Ready,
    Refuse,
    Said,
    Settled,
    Told,
    Unfit,
    message_of,
)
from benchmark.scheduling.cluster.ordered_cells import other_data
from benchmark.scheduling.cluster.placement import WorkingNode, data_key
from benchmark.scheduling.processes.slots import Slots
from benchmark.scheduling.run_options import Step
from benchmark.status import Cause
from benchmark.units import plural


def take_reports(run: ClusterRun) -> None:
    """Hears all that nodes have reported since it was called last."""
    run.looked_at_reports = time.monotonic()
    for report in run.recorder.do(run.mailbox.take) or ():
        message = message_of(report.body)
        member = run.members.get(report.node_id)
        if isinstance(message, Ready):
            _join(run, report.node_id, message)
        elif isinstance(message, Unfit):
            run.note(message.reason)
            run.placements[message.name] = PLACEMENTS
            run.placed_at[message.name] = time.monotonic()
            if message.cell_id:
                run.losses[message.cell_id] += 1
                run.without_room.add(message.cell_id)
        elif member is not None:
            _hear(run, member, message)


def _join(run: ClusterRun, node_id: int, message: Ready) -> None:
    computer = message.computer or message.name
    slots = Slots(range(message.cores), range(message.gpus), None, run.options.gpu_share)
    for placed in run.placed.values():
        if placed.node.name == message.name and placed.member is None:
            placed.member = run.members[node_id] = WorkingNode(node_id, message.name, computer, slots)
            run.note(f"node {message.name} is ready: {plural(message.cores, 'core')}, {plural(message.gpus, 'GPU')}")
            return


def _hear(run: ClusterRun, member: WorkingNode, message: Message) -> None:
    match message:
        case Said():
            run.note(message.text)
        case Preparing():
            run.preparing[member.node_id] = {f"{member.name}: {name}": text for name, text in message.progress.items()}
        case Begun() | Told() | AttemptEnded() | Settled() | LeftPending() if message.cell_id in member.cells:
            _hear_of_cell(run, member, member.cells[message.cell_id][0], message)
        case _:
            pass


def _hear_of_cell(run: ClusterRun, member: WorkingNode, cell: Cell, message: Message) -> None:
    match message:
        case Begun():
            run.started[cell.cell_id] = time.monotonic()
            run.placements[member.name] = 0
            run.decider.launched(cell, message.number)
            run.observer.tell("placed", cell, member.name)
        case Told():
            _hear_worker(run, member, cell, message)
        case AttemptEnded():
            run.started.pop(cell.cell_id, None)
            run.decider.end_attempt(cell)
        case LeftPending():
            member.give_back(cell.cell_id)
            for gpu in set(member.slots.gpus):
                member.slots.quarantine(gpu)
            _give_back(run, cell)
        case Settled():
            if message.state == Cause.INTERRUPTED and run.stopped is None:
                # its node leaves, and the cell goes on elsewhere once it has: its attempt may not be recorded as ended
                member.is_leaving = True
            else:
                member.give_back(cell.cell_id)
                run.decider.settle(cell, message.ending(run.root))
        case _:
            pass


def _give_back(run: ClusterRun, cell: Cell) -> None:
    """Another node has to take the cell; where none ever can, it stays pending."""
    if any(member.slots.possible(cell) for member in run.members.values()):
        run.retry(cell)
    else:
        run.decider.leave_pending(cell)


def _hear_worker(run: ClusterRun, member: WorkingNode, cell: Cell, message: Told) -> None:
    event = from_line(message.line.encode())
    if isinstance(event, Step):
        run.observer.tell("progress", cell, event)
    if isinstance(event, Progress):
        return
    run.decider.hear(cell, event, message.elapsed, lambda: message.undisturbed)
    if isinstance(event, EpochFinished):
        run.observer.tell("epoch", cell, event)
    elif isinstance(event, ModelBuilt):
        known = run.fingerprints.setdefault(data_key(cell), event.data_fingerprint)
        if known != event.data_fingerprint:
            reason = f"node {member.name}: {other_data(known, event.data_fingerprint)}"
            # a very short cell may have come to its end before it hears of this
            run.note(reason)
            run.send([(member.node_id, Refuse(cell.cell_id, reason))])
