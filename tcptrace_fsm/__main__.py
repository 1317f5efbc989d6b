"""``python -m tcptrace_fsm``: the same as the command ``tcptrace-fsm``."""

from __future__ import annotations

from tcptrace_fsm.cli.app import main

if __name__ == "__main__":
    main()
