"""Changes of state, and what the replay works with; the numbers of the machine's states and events."""

from __future__ import annotations

from tcptrace_fsm.tcp.machine import Basis, Event, Opened, State

# --- transition: one state change of one endpoint (made by replay) ---------------------------------------------------
T_CONNECTION = 0  # conn_id
T_SIDE = 1
T_TIME = 2
T_EARLIEST = 3  # -1: before the capture
T_LATEST = 4
T_FRAME = 5  # -1 for a timer
T_FROM = 6
T_TO = 7
T_EVENT = 8
T_BASIS = 9
T_CONFIRMED_BY = 10  # frame, -1 for none
TRANSITION_SIZE = 11

# --- scratch of the replay: what it holds of the endpoint at hand ---------------------------------------------------
X_STATE = 0  # machine.State
X_OPENED = 1  # machine.Opened
X_STARTED = 2  # 1 once the endpoint has left its first state
X_TOP = 3  # next free word in the transitions
X_TIME = 4  # of its latest change: times never run backwards
X_SINCE = 5  # when TIME_WAIT was entered or restarted, or FIN_WAIT_2 entered
X_BASIS = 6  # of its latest change
X_ASKED = 7  # segments that ask for an answer which the peer has sent since it last heard of the endpoint
X_SAW = 8  # bits of the states it has been in
X_HALF = 9  # half a round trip between capture point and endpoint, ns
X_SLACK = 10  # what arrival times may be off by, ns
X_REACH = 11  # how far from its passing here a segment may have been sent or received, ns
X_LAST_SYN = 12  # capture times of its own last SYN, SYN+ACK, FIN, and segment other than RST; -1 for none
X_LAST_SYN_ACK = 13
X_LAST_FIN = 14
X_LAST_ALIVE = 15
X_SYNS = 16  # how many SYNs (or SYN+ACKs) and FINs it sent, and the gap before the last
X_SYN_GAP = 17
X_FINS = 18
X_FIN_GAP = 19
X_FIRST_FIN = 20
X_SYN_COPY = 21  # the copy of the peer's SYN, SYN+ACK and FIN that reached it: index in the log, -1 for none
X_SYN_ACK_COPY = 22
X_FIN_COPY = 23
X_SYN_PROOF = 24  # its own segment that proves so, -1 for none
X_SYN_ACK_PROOF = 25
X_FIN_PROOF = 26
X_PLAIN_PROOF = 27  # its first own segment with neither SYN nor RST
X_UNSEEN_FIN = 28  # the peer's segment that acknowledges a FIN which is not in the capture, -1 for none
X_PEER_UNSEEN_FIN = 29  # its own segment that acknowledges such a FIN of the peer
X_DENIED = 30  # how many ACKs of its FIN or SYN it has shown not to have received
X_FIN_TAKEN = 31  # 1 once the peer's FIN was processed
X_FIN_END = 32  # sequence number after its own FIN, -1 for none
X_PEER_FIN_END = 33
X_UNSEEN = 34  # 1 where the capture holds nothing from it
X_PEER_UNSEEN = 35
X_END = 36  # last moment that counts, ns
X_LOCAL = 37  # 1 where the capture was taken at this endpoint's host
X_FIN_FILL = 38  # the peer's segment that filled the hole before its FIN: index in the log, -1 for none
X_OWN = 39  # its own latest segment so far, -1 for none
X_OWN_ACK = 40  # the highest ACK that it, and that its peer, has sent so far; -1 for none
X_PEER_ACK = 41
X_NEXT_OWN = (
    42  # its next segment in the log, and its peer's next RST: what was looked for before is not looked for again
)
X_NEXT_RST = 43
X_SYN_ACK_TSVAL = 44  # TSval of its first SYN+ACK, -1 for none
X_OVERLOOKED = 45  # 1 where what should have been acknowledged at once never was, at the endpoint's own host
X_CHALLENGE = 46  # capture time of its latest pure ACK that repeats the one before, -1 for none
X_SYN_ACK = 47  # its latest SYN+ACK so far, -1 for none
X_OWN_NEXT = 48  # one past the highest that it has sent so far, -1 for nothing
X_TURNED_AWAY = 49  # capture time of the peer's latest segment that could not complete the handshake, -1 for none
X_TIMERS = 50  # where the timers of its host begin
X_SHUT = 51  # 1 where what it had to send at last was held back by a shut window
X_FIN_UNHEARD = 52  # 1 where it answered by RST what its peer had sent before it heard of the endpoint's FIN
X_OVERTAKEN = 53  # its peer's last segment that came late, and was sent before its peer heard of the endpoint's FIN
X_FIN_AFTER = 54  # 1 where its own FIN, lost or overtaken on its way here, was sent after it had taken the peer's
X_HABITS = 55  # HABIT_... bits of its host's profile
X_HEARD = 56  # up to where its own segments were looked at, and the last ACK of those
X_HEARD_ACK = 57
X_EARLIEST = 58  # the earliest moment of its latest change
X_RESETS = 59  # how many reply RSTs it sent after its FIN
X_LESS = 60  # its latest segment that does not acknowledge the peer's FIN, before the one that does, and when sent
X_LESS_AT = 61
SCRATCH_SIZE = 62

# --- timers of one kind of host, ns: the profile's, then those of the hosts that have shown theirs --------------------
P_TIME_WAIT_LEAST = 0
P_TIME_WAIT_USUAL = 1
P_TIME_WAIT_MOST = 2
P_FIN_WAIT_2_LEAST = 3
P_FIN_WAIT_2_USUAL = 4
P_FIN_WAIT_2_MOST = 5
P_TIME_WAIT_BASIS = 6  # what an end by this timer rests on: BASIS_TIMER or BASIS_LEARNED
P_FIN_WAIT_2_BASIS = 7
P_PATIENCE = 8  # after how long at the latest it first repeats what is not acknowledged, beyond the round trip
P_HABITS = 9  # HABIT_... bits
P_STACKS = 10  # where the profiles of stacks begin, by STACK_..., for hosts that have shown no timers; 0: not asked for
PROFILE_SIZE = 11

HABIT_KEEPS_TIME_WAIT = 1  # an RST does not end TIME_WAIT (RFC 1337)
HABIT_OBEYS_OLD_RST = 4  # an RST that lies before the window ends the connection all the same
HABIT_FIN_STARTS_AGAIN = 2  # it calls itself FIN_WAIT_1 once it has repeated its FIN, whoever closed first
HABIT_STRAIGHT = 8  # it answers a FIN at once; one that acknowledges its own takes it straight to TIME_WAIT

# END_STACK, and the order of the profiles at P_STACKS
STACK_UNKNOWN = 0
STACK_LINUX = 1
STACK_BSD = 2
STACK_WINDOWS = 3
STACK_LWIP = 4
STACK_GVISOR = 5

# --- the machine's numbers, for the kernels -------------------------------------------------------------------------
ST_CLOSED = int(State.CLOSED)
ST_LISTEN = int(State.LISTEN)
ST_SYN_SENT = int(State.SYN_SENT)
ST_SYN_RECEIVED = int(State.SYN_RECEIVED)
ST_ESTABLISHED = int(State.ESTABLISHED)
ST_FIN_WAIT_1 = int(State.FIN_WAIT_1)
ST_FIN_WAIT_2 = int(State.FIN_WAIT_2)
ST_CLOSE_WAIT = int(State.CLOSE_WAIT)
ST_CLOSING = int(State.CLOSING)
ST_LAST_ACK = int(State.LAST_ACK)
ST_TIME_WAIT = int(State.TIME_WAIT)
ST_UNKNOWN = int(State.UNKNOWN)
STATES = len(State)
EV_OPEN_PASSIVE = int(Event.OPEN_PASSIVE)
EV_SND_SYN = int(Event.SND_SYN)
EV_SND_SYN_ACK = int(Event.SND_SYN_ACK)
EV_SND_FIN = int(Event.SND_FIN)
EV_SND_RST = int(Event.SND_RST)
EV_RCV_SYN = int(Event.RCV_SYN)
EV_RCV_SYN_ACK = int(Event.RCV_SYN_ACK)
EV_RCV_ACK_OF_SYN = int(Event.RCV_ACK_OF_SYN)
EV_RCV_FIN = int(Event.RCV_FIN)
EV_RCV_ACK_OF_FIN = int(Event.RCV_ACK_OF_FIN)
EV_RCV_FIN_ACK_OF_FIN = int(Event.RCV_FIN_ACK_OF_FIN)
EV_RCV_RST = int(Event.RCV_RST)
EV_USER_CLOSE = int(Event.USER_CLOSE)
EV_TIMEOUT_2MSL = int(Event.TIMEOUT_2MSL)
EV_TIMEOUT_FIN_WAIT_2 = int(Event.TIMEOUT_FIN_WAIT_2)
EV_TIMEOUT_RETRANSMISSION = int(Event.TIMEOUT_RETRANSMISSION)
EV_GONE = int(Event.GONE)
EV_REUSED = int(Event.REUSED)
EV_RCV_ACK_OF_UNSEEN_FIN = int(Event.RCV_ACK_OF_UNSEEN_FIN)
EV_SND_FIN_AGAIN = int(Event.SND_FIN_AGAIN)
EV_RCV_FIN_AFTER_UNSEEN_FIN = int(Event.RCV_FIN_AFTER_UNSEEN_FIN)
EVENTS = len(Event)
BASIS_SENT = int(Basis.SENT)
BASIS_ACKED = int(Basis.ACKED)
BASIS_PRESUMED = int(Basis.PRESUMED)
BASIS_TIMER = int(Basis.TIMER)
BASIS_INFERRED = int(Basis.INFERRED)
BASIS_LEARNED = int(Basis.LEARNED)
OPENED_ACTIVE = int(Opened.ACTIVE)
OPENED_PASSIVE = int(Opened.PASSIVE)
