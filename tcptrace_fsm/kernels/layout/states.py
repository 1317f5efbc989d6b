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
HABIT_OBEYS_OLD_RST = 4  # an RST before the window, or anywhere inside it, ends the connection all the same
HABIT_FIN_STARTS_AGAIN = 2  # it calls itself FIN_WAIT_1 once it has repeated its FIN, whoever closed first
HABIT_STRAIGHT = 8  # it answers a FIN at once; one that acknowledges its own takes it straight to TIME_WAIT
HABIT_REFUSES_SYN = 16  # TIME_WAIT answers a SYN by an RST, and stays
HABIT_OBEYS_RST_INSIDE = 32  # an RST anywhere inside the window ends the connection, and none draws a challenge ACK

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
