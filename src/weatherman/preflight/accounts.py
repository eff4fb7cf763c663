"""Accounts: can the tracker be used, and may the base model be fetched? Seconds, no login, no secret in any line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from weatherman.models.base_model import DEMO_MODEL
from weatherman.preflight import places
from weatherman.preflight.finding import Finding, as_rehearsal, fail, ok, warn
from weatherman.preflight.probe import NETWORK_LIMIT_S, within
from weatherman.preflight.target import Target
from weatherman.run.trackers import install_advice, missing_package, wandb_mode

HUB = "https://huggingface.co"
_MIN_CACHED_BYTES = 2**30
_NO_ACCOUNT = {
    "none": "no tracker is asked for (report_to); events.jsonl has every metric",
    "trackio": "trackio keeps its metrics on this machine; no account is needed",
    "tensorboard": "TensorBoard's files are kept in the run's folder; no account is needed",
}


def check_accounts(target: Target) -> Iterator[Finding]:
    """Judge the tracker's key and the hub's token."""
    for finding in (check_tracker(target), check_hub(target)):
        yield as_rehearsal(finding) if target.rehearse else finding


def check_tracker(target: Target) -> Finding:
    """A tracker is a copy of events.jsonl: without it the run goes on. Its package counts before its account."""
    kind = places.setting(target, "report_to").strip("\"'")
    if not target.before_setup and (missing := missing_package(kind)):
        return warn("accounts.tracker", missing, install_advice(kind))
    return check_wandb() if kind == "wandb" else ok("accounts.tracker", _NO_ACCOUNT.get(kind, f"report_to is {kind}"))


def check_wandb() -> Finding:
    """W&B has a key, and its server answers."""
    code = "accounts.wandb"
    mode, reason = within(NETWORK_LIMIT_S, wandb_mode) or ("offline", "its server's name cannot be looked up")
    if mode == "online":
        return ok(code, "W&B has a key and can be reached")
    text = f"W&B runs {mode}: {reason}; the run keeps its own record in events.jsonl all the same"
    return warn(
        code, text, "get a key at https://wandb.ai/authorize and export WANDB_API_KEY, or --set report_to=trackio"
    )


def hub_token(target: Target) -> str | None:
    """The hub's token: by environment, else the file that `hf auth login` writes."""
    environ = target.probe.environ
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if token := environ.get(name, "").strip():
            return token
    path = Path(environ.get("HF_TOKEN_PATH") or places.hub_home(target) / "token")
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def check_hub(target: Target) -> Finding:
    """May the base model be fetched? Asked before anything is downloaded."""
    code, model = "accounts.hub", places.setting(target, "model_name_or_path")
    if model == DEMO_MODEL or Path(model).is_dir():
        return ok(code, f"the base model {model} needs no account")
    if places.cached_model_bytes(target) > _MIN_CACHED_BYTES:
        return ok(code, f"the base model {model} is in the hub's cache already")
    token, revision = hub_token(target), places.setting(target, "model_revision")
    endpoint = target.probe.environ.get("HF_ENDPOINT", HUB).rstrip("/")
    page = f"{HUB}/{model}"
    if target.probe.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        return fail(
            code, f"HF_HUB_OFFLINE is set and {model} is not in the cache", "unset HF_HUB_OFFLINE for the first run"
        )
    status = target.probe.http_status(f"{endpoint}/{model}/resolve/{revision}/config.json", token)
    get_token = f"accept the licence at {page}, make a read token at {HUB}/settings/tokens, and export HF_TOKEN"
    if status is None:
        text = f"{endpoint} cannot be reached, and the base model {model} is not in the cache"
        return fail(code, text, "check the network, or set HF_ENDPOINT to a mirror")
    if status < 400:
        how = "with your token" if token else "without a token"
        return ok(code, f"the base model {model} can be fetched {how}")
    if status == 401:
        text = f"the hub refuses your token for {model}" if token else f"no hub token, and {model} is gated"
        return fail(code, text, get_token)
    if status == 403:
        return fail(code, f"your token has no access to {model}: its licence is not accepted yet", get_token)
    if status == 404:
        return fail(code, f"the hub has no model {model}", "check model_name_or_path; a private one needs HF_TOKEN")
    return fail(code, f"{endpoint} answered {status} for {model}", "try again in a few minutes")
