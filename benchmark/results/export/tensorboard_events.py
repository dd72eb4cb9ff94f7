"""Writes executions as folders of events for TensorBoard, with its own package and without TensorFlow."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from benchmark.results.export.recorded_runs import RecordedRun
from benchmark.status import Status

_LONGEST_NAME = 40
_LONGEST_NAMES_BYTES = 200
"""A file system takes 255 bytes; the ids that follow need less than 50."""
_ENDED_WELL = {Status.COMPLETED, Status.DIVERGED}


def write_events(folder: Path, run: RecordedRun) -> Path:
    """Writes the epochs of one execution, and its settings as hyperparameters, to a folder of its own.

    Args:
        folder: Where the folders of all executions are.
        run: The execution; its curves are single-precision numbers there, as all scalars of TensorBoard's are.

    Returns:
        The new folder.

    Raises:
        OSError: It cannot be written.
    """
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    end = run.end or run.begin
    first, last = _session(run, end)
    place = folder / folder_name(run)
    place.mkdir()
    with (place / f"events.out.tfevents.{int(run.begin):010d}.bench").open("xb") as file:
        writer = RecordWriter(file)
        writer.write(Event(wall_time=run.begin, file_version="brain.Event:2").SerializeToString())
        writer.write(Event(wall_time=run.begin, summary=Summary(value=[first])).SerializeToString())
        for epoch, seconds, measured in run.curves():
            values = [Summary.Value(tag=tag, simple_value=value) for tag, value in measured.items()]
            writer.write(Event(wall_time=seconds, step=epoch, summary=Summary(value=values)).SerializeToString())
        writer.write(Event(wall_time=end, summary=Summary(value=[last])).SerializeToString())
    return place


def _session(run: RecordedRun, end: float) -> tuple[Any, Any]:
    """What the page of hyperparameters needs at the beginning and at the end of a run.

    `tensorboard.plugins.hparams.summary_v2` would make the same, but imports TensorFlow where it is installed.
    """
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import metadata
    from tensorboard.plugins.hparams.api_pb2 import Status as Outcome
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo

    start = SessionStartInfo(group_name=folder_name(run), start_time_secs=run.begin)
    for name, setting in run.settings.items():
        kind = "bool" if isinstance(setting, bool) else "string" if isinstance(setting, str) else "number"
        setattr(start.hparams[name], f"{kind}_value", setting)
    ended_well = run.row["status"] in _ENDED_WELL
    outcome = "SUCCESS" if ended_well else "RUNNING" if run.end is None else "FAILURE"
    finish = SessionEndInfo(status=Outcome.Value(f"STATUS_{outcome}"), end_time_secs=end)

    def value(tag: str, **info: Any) -> Any:
        about = metadata.create_summary_metadata(HParamsPluginData(**info))
        return Summary.Value(tag=tag, metadata=about, tensor=metadata.NULL_TENSOR)

    return (
        value(metadata.SESSION_START_INFO_TAG, session_start_info=start),
        value(metadata.SESSION_END_INFO_TAG, session_end_info=finish),
    )


def folder_name(run: RecordedRun) -> str:
    """What an execution's folder is called: names for people, then the ids of its cell and its own, for programs."""
    names = (run.row["dataset"], run.row["model"], run.row["strategy"], f"seed{run.row['seed']}")
    plain = "-".join(re.sub(r"[^\w.-]+", "_", name)[:_LONGEST_NAME] for name in names).lstrip("._-")
    short = plain.encode()[:_LONGEST_NAMES_BYTES].decode(errors="ignore")
    return f"{short}-{run.row['cell_id']}-{run.row['execution_id']}"
