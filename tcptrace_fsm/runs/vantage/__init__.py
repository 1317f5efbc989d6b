"""Two captures of the same connections, taken at or near their two hosts, made one.

Read once to compare them: what both hold, how their clocks stand to each other, which host is at which point, whether
one of them lacks frames. Then read again, side by side, and paired segment by segment
(:mod:`tcptrace_fsm.kernels.pair`): a segment that one point saw and the other did not was lost between them.

The clocks. A segment from the first point to the second takes ``d``; its stamps differ by ``d + offset``. One the other
way makes them differ by ``offset - d'``. Delays are not negative, so the offset lies below all differences of the one
kind and above all of the other, at each moment: a line between two hulls (Moon, Skelly and Towsley, "Estimation and
removal of clock skew from network delay measurements", INFOCOM 1999). Of all lines, that which keeps the greatest
distance from both is taken; it gives the least delay the same length both ways, and is off by that much at most. How an
unequal path divides, no pair of captures can show.

What is kept of the first reading is a sample of segments, the same one in both captures: those whose content has the
smallest hashes (Broder, "On the resemblance and containment of documents", 1997). Small captures are kept whole.
"""

from __future__ import annotations

from tcptrace_fsm.runs.vantage.comparison import Comparison, check_sources, compare
from tcptrace_fsm.runs.vantage.merging import Merged, merge

__all__ = ["Comparison", "Merged", "check_sources", "compare", "merge"]
