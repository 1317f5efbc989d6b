"""The settings of a run: one object from the command line, or from ``analyze()``, to every process that takes part.

An option of runs is a field here: what it means, and how the command line offers it (:mod:`tcptrace_fsm.cli.options`
makes ``--learn-timers`` of ``learn_timers``). Whoever needs it reads it from the settings that are handed on whole.
"""

from __future__ import annotations

from dataclasses import Field, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from tcptrace_fsm.errors import UsageError
from tcptrace_fsm.tcp.profiles import PROFILES, Profile

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Settings", "option_fields"]


def option(default: Any, text: str, metavar: str = "") -> Any:
    """A field that the command line offers as an option, with its help text."""
    return field(default=default, metadata={"text": text, "metavar": metavar})


@dataclass(frozen=True)
class Settings:
    """What a run goes by. It can be pickled.

    Attributes
    ----------
    profile : Profile
        Whose timers the hosts have.
    learn_timers : bool
        Whether to read the captures once before, for what hosts show of their own timers.
    taken_at : tuple of str
        All addresses of the host on which the captures were taken, where that is known.
    filter : str or None
        Which frames to look at, in tcpdump's language.
    merge_vantage : bool
        Whether the two captures are of the same connections, taken at or near their two hosts.
    follow : bool
        Whether the last capture is still being written.
    strict : bool
        Whether one of several captures that cannot be read stops everything.
    segments : bool
        Whether segments are wanted one by one.
    fragments : bool
        Whether each capture is to note from which frames a segment was put together.

    Raises
    ------
    UsageError
        When two settings contradict each other.

    """

    profile: Profile = PROFILES["linux"]
    learn_timers: bool = option(
        False,
        "Read the captures twice: first for what each host shows of its own timers, then to go by that where it shows "
        "anything.",
    )
    taken_at: tuple[str, ...] = option(
        (),
        "An address of the host that took the capture: what arrives there has arrived. May be repeated.",
        "IP",
    )
    filter: str | None = option(None, "Only these frames, in tcpdump's words.", "EXPR")
    merge_vantage: bool = option(
        False,
        "The two captures are of the same connections, one taken at (or near) each host: match their segments, so that "
        "what was lost in between is known, what arrived is proved, and one-way delays come out. Their clocks may "
        "differ.",
    )
    follow: bool = option(False, "Go on as the last capture grows, tell findings as they come, until Ctrl-C.")
    strict: bool = option(
        False, "Stop at the first of several captures that cannot be read, in place of leaving it out."
    )
    segments: bool = False
    fragments: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "taken_at", tuple(self.taken_at))
        if self.merge_vantage and (self.filter is not None or self.follow):
            raise UsageError("--merge-vantage goes with neither --filter nor --follow")
        if self.learn_timers and self.profile.given >= {"time_wait", "fin_wait_2"}:
            raise UsageError("--learn-timers has nothing to learn where --time-wait and --fin-timeout are given")

    def chosen(self) -> Iterator[tuple[Field[Any], Any]]:
        """The options that are not at their default, each with its value."""
        for one in option_fields():
            value = getattr(self, one.name)
            if value != one.default:
                yield one, value

    def summary(self) -> dict[str, Any]:
        """The settings as ``summary.json`` lists them."""
        options: dict[str, Any] = {
            "profile": self.profile.name,
            "time_wait": self.profile.time_wait.usual,
            "fin_timeout": self.profile.fin_wait_2.usual,
        }
        return options | {one.name: list(value) if isinstance(value, tuple) else value for one, value in self.chosen()}

    def arguments(self) -> list[str]:
        """The settings as words of a command line."""
        words = [] if self.profile.name == PROFILES["linux"].name else ["--profile", self.profile.name]
        for name, timer in (("time_wait", self.profile.time_wait), ("fin_wait_2", self.profile.fin_wait_2)):
            if name in self.profile.given:
                words += [_flag("fin_timeout" if name == "fin_wait_2" else name), f"{timer.usual:g}"]
        for one, value in self.chosen():
            if value is True:
                words.append(_flag(one.name))
            else:
                for item in value if isinstance(value, tuple) else (value,):
                    words += [_flag(one.name), str(item)]
        return words


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def option_fields() -> list[Field[Any]]:
    """The settings that the command line offers as they stand (the profile it makes of three options)."""
    return [one for one in fields(Settings) if one.metadata]
