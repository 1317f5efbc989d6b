"""Tunnels: how far a frame has been gone through, and the paths that were met."""

from __future__ import annotations

# --- way: how far the kernel has come through one frame (made by tunnels) ---------------------------------------------
WY_AT = 0  # where the layer at hand begins
WY_END = 1  # one past its last captured byte
WY_WIRE = 2  # one past its last byte on the wire
WY_ROOM = 3  # where all layers so far end at the latest, on the wire
WY_IP = 4  # where the innermost IP packet begins
WY_SIX = 5  # 1 where that is IPv6
WY_LOW = 6  # where the lower one of its two addresses stands, in the order of their bytes
WY_HIGH = 7  # and the other one
WY_NEXT = 8  # the frame that comes next, where there was no room for another path
WY_TAGS = 9  # VLAN tags so far
WY_OTHERS = 10  # other layers that the path names
WY_LETTERS = 11  # letters of the path so far
WY_BROKEN = 12  # broken TCP headers that were found
WY_FIRST = 13  # frame number of the batch's first frame
WY_KEEPS = 14  # 1 to give records of broken TCP headers too
WY_TEXT = 15  # the path, eight letters to a word, the first one lowest
TEXT_WORDS = 256
WY_SIZE = 271  # WY_TEXT + TEXT_WORDS
NAME_LETTERS = 112  # more than one layer's name takes
MOST_LAYERS = 30  # that the kernel goes through: fewer than the layers in Python give up at

# What is to be read next.
READ_NOTHING = 0  # what the kernel does not read
READ_ETHERNET = 1
READ_TAG = 2
READ_IP = 3
READ_UDP = 4
READ_GRE = 5
READ_LABELS = 6
READ_PPPOE = 7
READ_TCP = 8

# Names of layers, four letters to a number, the first one lowest.
NAME_GRE = 0x20657267  # "gre "
NAME_IPIP = 0x70697069  # "ipip"
NAME_6IN4 = 0x346E6936  # "6in4"
NAME_6IN6 = 0x366E6936  # "6in6"
NAME_VLAN = 0x6E616C76  # "vlan"
NAME_VXLA = 0x616C7876  # "vxla"
NAME_N = 0x206E  # "n "
NAME_GENE = 0x656E6567  # "gene"
NAME_VE = 0x206576  # "ve "
NAME_GTP = 0x20707467  # "gtp "
NAME_MPLS = 0x736C706D  # "mpls"
NAME_PPPO = 0x6F707070  # "pppo"
NAME_E = 0x2065  # "e "
NAME_KEY = 0x79656B20  # " key"

# --- paths: those that were met, by their codes (made by paths) -------------------------------------------------------
PT_COUNT = 0  # paths
PT_MOST = 1  # so many get a code of their own
PT_TOP = 2  # the first free word
PT_ROOM = 3  # words in all
PT_SEED = 4  # random: where in the slots a code stands
PT_MIX = 5  # an odd number, the same in every process: what codes are made with
PT_SLOTS = 6  # of each slot where its path stands, or 0
SLOT_COUNT = 131072  # a power of two, twice what PT_MOST may be
PT_STORE = 131078  # PT_SLOTS + SLOT_COUNT: paths, one after the other
P_CODE = 0  # of each path its code,
P_LETTERS = 1  # how many letters it has,
P_TEXT = 2  # and these, eight to a word, the first one lowest
CODE_BITS = 56
CODE_OVERFLOW = -1  # of paths beyond PT_MOST
