"""The options that commands share. Those of :class:`Settings` are made from its fields."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tcptrace_fsm.cli import completion
from tcptrace_fsm.core.settings import Settings, option_fields
from tcptrace_fsm.tcp.profiles import PROFILES
from tcptrace_fsm.tcp.profiles import profile as find_profile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from dataclasses import Field

__all__ = ["Captures", "FileOrDash", "with_settings"]

Captures = Annotated[
    list[str],
    typer.Argument(
        metavar="CAPTURE...",
        help="pcap or pcapng files (also .gz, .zst), directories, patterns, or - for standard input.",
    ),
]
FileOrDash = Annotated[
    str | None, typer.Option("--svg", metavar="FILE", help="Draw it as SVG into this file; - is standard output.")
]

# The three options that make a Settings' profile.
_PROFILE_OPTIONS = {
    "profile": (str, "linux", "NAME", f"Whose timers the hosts have: {', '.join(PROFILES)}."),
    "time_wait": (float | None, None, "S", "How long TIME_WAIT lasts, in place of the profile's."),
    "fin_timeout": (float | None, None, "S", "How long an orphaned FIN_WAIT_2 lasts, in place of the profile's."),
}


def with_settings(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Turn the parameter ``settings`` of a command into these options.

    Parameters
    ----------
    names : str
        Fields of :class:`Settings`, in the order in which ``--help`` lists them. ``profile`` becomes three options.

    """

    def decorated(command: Callable[..., None]) -> Callable[..., None]:
        options = list(_parameters(names))

        @functools.wraps(command)
        def with_options(**given: Any) -> None:
            command(settings=_settings({option.name: given.pop(option.name) for option in options}), **given)

        parameters = []
        for parameter in inspect.signature(command, eval_str=True).parameters.values():
            parameters += options if parameter.name == "settings" else [parameter]
        with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return with_options

    return decorated


def _parameters(names: tuple[str, ...]) -> Iterator[inspect.Parameter]:
    by_name = {one.name: one for one in option_fields()}
    for name in names:
        if name == "profile":
            for option, (kind, default, metavar, text) in _PROFILE_OPTIONS.items():
                yield _parameter(option, kind, default, metavar, text)
        else:
            yield _of_field(by_name[name])


def _of_field(one: Field[Any]) -> inspect.Parameter:
    """Make an option of a field: a flag, a text, or a text that may be repeated."""
    metavar, text = one.metadata["metavar"], one.metadata["text"]
    if isinstance(one.default, bool):
        return _parameter(one.name, bool, one.default, None, text)
    if isinstance(one.default, tuple):
        return _parameter(one.name, list[str] | None, None, metavar, text)
    return _parameter(one.name, str | None, one.default, metavar, text)


def _parameter(name: str, kind: Any, default: Any, metavar: str | None, text: str) -> inspect.Parameter:
    offered = completion.profiles if name == "profile" else None
    option = typer.Option("--" + name.replace("_", "-"), metavar=metavar, help=text, autocompletion=offered)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option])


def _settings(given: dict[str, Any]) -> Settings:
    if "profile" in given:
        timers = {name: given.pop(name) for name in ("time_wait", "fin_timeout")}
        given["profile"] = find_profile(given["profile"], **timers)
    return Settings(**{name: value for name, value in given.items() if value is not None})
