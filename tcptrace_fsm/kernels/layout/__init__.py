"""The records that the kernels share: which word of a record holds what.

A record is a run of ``int64`` words in a flat array; ``frames[f + F_TIME]`` is the time of the frame whose record
begins at word ``f``. Sizes are in words. At build time ``setup.py`` turns these names into a C enum, so this folder
is the only place that numbers them: a file for each kind of record. Its users import from here.

Times are nanoseconds since 1970 UTC. ``-1`` means "not present" where a field says so.
"""

from __future__ import annotations

from tcptrace_fsm.kernels.layout.attempts import *
from tcptrace_fsm.kernels.layout.capture_points import *
from tcptrace_fsm.kernels.layout.connections import *
from tcptrace_fsm.kernels.layout.detected import *
from tcptrace_fsm.kernels.layout.embryos import *
from tcptrace_fsm.kernels.layout.frames import *
from tcptrace_fsm.kernels.layout.judgement import *
from tcptrace_fsm.kernels.layout.log import *
from tcptrace_fsm.kernels.layout.marks import *
from tcptrace_fsm.kernels.layout.other_tools import *
from tcptrace_fsm.kernels.layout.segments import *
from tcptrace_fsm.kernels.layout.sentences import *
from tcptrace_fsm.kernels.layout.states import *
from tcptrace_fsm.kernels.layout.tracker import *
from tcptrace_fsm.kernels.layout.tunnels import *
from tcptrace_fsm.kernels.layout.waits import *
