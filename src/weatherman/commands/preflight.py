"""`weatherman check`, `weatherman doctor` and `weatherman plan`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from weatherman.commands.options import JsonOption, SetOption

PlatformOption = Annotated[
    Literal["h100", "m4", "cpu"] | None,
    typer.Option("--env", help="Whose thresholds count; else this machine's."),
]
OptionalConfig = Annotated[
    Path | None, typer.Option("--config", "-c", help="The training configuration; by default the platform's own.")
]
RehearseOption = Annotated[
    bool, typer.Option("--rehearse", help="What the platform lacks is reported as cannot-know-here, and fails nothing.")
]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(check)
    app.command()(doctor)
    app.command()(plan)


def check(
    group: Annotated[str, typer.Argument(help="environment, machine, storage, config or accounts.")],
    env: PlatformOption = None,
    config: OptionalConfig = None,
    overrides: SetOption = None,
    rehearse: RehearseOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run one group of preflight checks.

    Example: weatherman check storage --env h100 --json
    """
    from weatherman.errors import WeathermanError
    from weatherman.preflight.runner import GROUPS

    if group not in GROUPS:
        raise WeathermanError("cli.usage", f"there are no {group!r} checks.", f"choose of: {', '.join(GROUPS)}")
    _run((group,), env, config, overrides, rehearse, as_json)


def doctor(
    env: PlatformOption = None,
    config: OptionalConfig = None,
    overrides: SetOption = None,
    rehearse: RehearseOption = False,
    bundle: Annotated[
        Path | None, typer.Option("--bundle", help="Also write one file to send: no secrets, no data.")
    ] = None,
    run: Annotated[Path | None, typer.Option("--run", help="With --bundle: a run whose first steps go in.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Run all preflight checks: ok, warning, failed, or cannot be known here, each with what to do.

    Example: weatherman doctor --env h100 --config configs/training_config_h100.yaml --json
    """
    from weatherman.preflight.runner import GROUPS

    _run(GROUPS, env, config, overrides, rehearse, as_json, bundle, run)


def _run(
    groups: tuple[str, ...],
    env: Literal["h100", "m4", "cpu"] | None,
    config: Path | None,
    overrides: list[str] | None,
    rehearse: bool,
    as_json: bool,
    bundle: Path | None = None,
    run: Path | None = None,
) -> None:
    from weatherman import messages
    from weatherman.preflight.bundle import write_bundle
    from weatherman.preflight.places import platform_of
    from weatherman.preflight.probe import SystemProbe
    from weatherman.preflight.report import report
    from weatherman.preflight.runner import run_checks
    from weatherman.preflight.target import Target

    probe = SystemProbe()
    target = Target(env or platform_of(config, probe), config, tuple(overrides or ()), rehearse, probe=probe)
    findings = list(run_checks(target, groups)) if bundle else run_checks(target, groups)
    code = report(findings, as_json=as_json)
    if bundle:
        write_bundle(bundle, list(findings), run)
        if not as_json:
            messages.say(
                "PREFLIGHT",
                f"Written to {bundle}, to be read and sent: versions, findings, first steps",
            )
    raise typer.Exit(code)


def plan(
    config: Annotated[Path, typer.Option("--config", "-c", help="The training configuration (YAML).")],
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """What a run will take: tokens, steps, memory, time and money, and what that assumes; fails if it cannot fit.

    Example: weatherman plan --config configs/training_config_h100.yaml --set hourly_rate=2.69
    """
    from weatherman.config.schema import load_config
    from weatherman.planning.plan import make_plan
    from weatherman.planning.plan_report import report_plan
    from weatherman.preflight.config_check import device_bytes
    from weatherman.preflight.mac import read_chip
    from weatherman.preflight.places import platform_of
    from weatherman.preflight.probe import SystemProbe
    from weatherman.preflight.target import Target

    loaded = load_config(config, overrides or ())
    target = Target(platform_of(config, SystemProbe()), config)
    made = make_plan(loaded, device_bytes=device_bytes(target), chip=read_chip(target.probe))
    raise typer.Exit(report_plan(made, as_json=as_json))
