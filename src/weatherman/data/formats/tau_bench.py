"""tau-bench: a trajectory in `traj`, in the OpenAI form, beside the task and its reward; the tools are not in it."""

from __future__ import annotations

from weatherman.data.changes import Changes
from weatherman.data.formats.form import Form, Row

_KEPT = ("task_id", "trial", "reward")


def _to_openai(row: Row, changes: Changes) -> Row:
    if not isinstance(row.get("traj"), list):
        raise ValueError("traj: expected a list of messages")
    own = row["tools"] if row.get("tools") else None
    about = {key: row[key] for key in _KEPT if row.get(key) is not None}
    if "info" in row:
        changes.leave_out("info")
    return {"messages": row["traj"], "metadata": about, **({"tools": own} if own else {})}


TAU_BENCH = Form("tau-bench", ("traj", "reward", "task_id"), lambda row: "traj" in row, _to_openai)
