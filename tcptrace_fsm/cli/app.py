"""The command line: ``tcptrace-fsm analyze``, ``connections``, ``netstat``, ``ladder`` and the others.

Exit status: 0 done, 1 the capture cannot be read (one line on stderr), 2 wrong usage, 3 ``--fail-on`` met, 4 an output
could not be written (a full disk, a quota, a missing right) or memory did not suffice, 130 stopped with Ctrl-C (after
what was read until then was summarised and written), 143 and 129 stopped by SIGTERM and SIGHUP (nothing is left).

Heavy modules are imported by the commands that need them, for ``--help`` and a small capture are to be instant.
"""

from __future__ import annotations

import errno
import gc
import os
import signal
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from tcptrace_fsm.cli.captures import LEFT_OUT
from tcptrace_fsm.cli.messages import EXIT_INTERRUPTED, EXIT_NOT_WRITTEN, EXIT_UNREADABLE, EXIT_USAGE, give_up, say
from tcptrace_fsm.errors import CaptureError, OutputError, UsageError, WorkerError

__all__ = ["application", "main", "run_command"]

# typer keeps click inside or beside itself, by version; its own exception leads to click's either way.
_CommandLineError: Any = typer.BadParameter.__mro__[1]

# Commands, in the order of --help, and the module of commands/ that has each.
COMMANDS = {
    "analyze": "analyze",
    "connections": "connections",
    "netstat": "netstat",
    "ladder": "pictures",
    "diagram": "pictures",
    "extract": "extract",
    "annotate": "annotate",
    "report": "pictures",
    "rules": "catalogue",
    "causes": "catalogue",
}


def root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version, and whether the kernels are compiled.")
    ] = False,
) -> None:
    """Passive TCP analysis: the RFC 9293 state of each endpoint, on what evidence, and what went wrong."""
    if version:
        from tcptrace_fsm.version import slow_note, versions

        found, note = versions(), slow_note()
        print(f"tcptrace-fsm {found['tcptrace-fsm']} (kernels {found['kernels']}, Python {found['python']})")
        if note:
            print(note)
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(EXIT_USAGE)


def application(asked: str | None = None) -> typer.Typer:
    """Make the application; where one command is asked for, without what the others need, which takes as long again."""
    app = typer.Typer(
        name="tcptrace-fsm",
        help=root.__doc__,
        rich_markup_mode=None,  # rich would double the time that --help takes
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(root)
    for name in [asked] if asked in COMMANDS else COMMANDS:
        app.command()(getattr(import_module(f"tcptrace_fsm.cli.commands.{COMMANDS[name]}"), name))
    return app


NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
NO_MORE = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN}
# How libraries that cannot be loaded, or cannot start a thread, say that there is too little memory.
TOO_LITTLE = (
    "failed to map segment",
    "cannot allocate memory",
    "resource temporarily unavailable",
    "can't start new thread",
    "out of memory",
)


class Stopped(BaseException):
    """A signal that ends the program; contexts clean up on its way out."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number


def stop(number: int, _frame: object) -> None:
    """End as Ctrl-C pressed twice does: at once, leaving nothing half written."""
    raise Stopped(number)


def open_standard_streams() -> None:
    """Make good for streams that the caller has closed, and for terminals that cannot show every letter."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - for as long as it runs
        elif mode == "w":
            with suppress(AttributeError, ValueError):
                stream.reconfigure(errors="backslashreplace")


def main() -> None:
    """Run the command line and exit with its status."""
    open_standard_streams()
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), stop)
    # numpy is used for copying columns: threads of its linear algebra would only spin.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    gc.disable()  # until the capture is read: what is imported is no garbage
    sys.exit(run_command())


def run_command(arguments: list[str] | None = None) -> int:
    """Run one command; every error that is not a fault of this program becomes one line and a status."""
    LEFT_OUT.clear()
    words = sys.argv[1:] if arguments is None else arguments
    try:
        app = application(words[0] if words and not completing(words) else None)
        status = app(words, prog_name="tcptrace-fsm", standalone_mode=False)
        sys.stdout.flush()
    except CaptureError as error:
        say(str(error))
        return EXIT_UNREADABLE
    except WorkerError as error:
        say(str(error))
        return EXIT_UNREADABLE
    except OutputError as error:
        say(str(error))
        return EXIT_NOT_WRITTEN
    except UsageError as error:
        say(str(error))
        return EXIT_USAGE
    except MemoryError:
        return too_little_memory()
    except _CommandLineError as error:
        say(usage_message(error))
        return EXIT_USAGE
    except KeyboardInterrupt:  # before there was anything to finish, or asked twice
        say("stopped by Ctrl-C")
        return EXIT_INTERRUPTED
    except Stopped as signal_:
        say(f"stopped by {signal_}")
        return signal_.status
    except (BrokenPipeError, SystemExit) as end:
        # The reader has gone (head, a pager); in this mode SystemExit is typer's word for that, and for a completion
        # that is done. Nobody is left to tell, and the interpreter must not try at exit either.
        with suppress(OSError, ValueError):
            sys.stdout.flush()
        give_up(sys.__stdout__, 1)
        return end.code if isinstance(end, SystemExit) and isinstance(end.code, int) and completing(words) else 0
    except OSError as error:
        if error.errno not in NO_ROOM | NO_MORE:
            raise
        give_up(sys.__stdout__, 1)
        say(f"{'cannot write' if error.errno in NO_ROOM else 'the system gives no more'}: {os.strerror(error.errno)}")
        return EXIT_NOT_WRITTEN
    except Exception as error:
        if not any(phrase in str(error).lower() for phrase in TOO_LITTLE):
            raise
        return too_little_memory()
    return (status if isinstance(status, int) else 0) or (EXIT_UNREADABLE if LEFT_OUT else 0)


def completing(words: list[str]) -> bool:
    """Whether this is about the shell's completion: typer ends the program itself then."""
    return "_TCPTRACE_FSM_COMPLETE" in os.environ or any("-completion" in word for word in words)


def too_little_memory() -> int:
    """Say so; returns the status."""
    say("there is too little memory for this capture; --filter looks at less of it")
    return EXIT_NOT_WRITTEN


def usage_message(error: Any) -> str:
    """Tell what was wrong with the command line, in one line, with the choices that there are."""
    message = error.format_message()
    context = getattr(error, "ctx", None)
    command = getattr(context, "command", None)
    if "option" in message.lower() and "such" in message.lower() and command is not None:
        options = sorted(name for p in command.params for name in p.opts if name.startswith("--"))
        message = f"{message.rstrip('.')}; there are {', '.join([*options, '--help'])}"
    elif "command" in message.lower() and command is not None and hasattr(command, "commands"):
        message = f"{message.rstrip('.')}; there are {', '.join(sorted(command.commands))}"
    return " ".join(message.split())
