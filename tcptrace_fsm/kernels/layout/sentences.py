"""Sentences: what findings of many connections say, put together from parts that are alike and from names."""

from __future__ import annotations

# --- what the words of a finding depend on beside names (made by sentences, from D_...) -------------------------------
SD_KIND = 0
SD_SIDE = 1
SD_COUNT = 2
SD_MORE = 3
SD_SPAN = 4
SD_GRADE = 5
SD_DOUBT = 6
SD_LOST = 7  # which of the texts about what the capturing machine lost
SAID_SIZE = 8

# --- sentence: one finding --------------------------------------------------------------------------------------------
SE_PIECES = 0  # where its pieces begin
SE_SIX = 1  # 1 for IPv6
SE_CLIENT_HI = 2
SE_CLIENT_LO = 3
SE_CLIENT_PORT = 4  # -1: the address alone
SE_SERVER_HI = 5
SE_SERVER_LO = 6
SE_SERVER_PORT = 7
SE_FRAME = 8
SENTENCE_SIZE = 9

# --- piece: pieces stand behind the number of pieces of the sentence --------------------------------------------------
PI_WHAT = 0  # PIECE_...
PI_BEGIN = 1  # of a text: where it begins among the letters
PI_LETTERS = 2  # and how many it has
PIECE_SIZE = 3
PIECE_TEXT = 0
PIECE_CLIENT = 1
PIECE_SERVER = 2
PIECE_FRAME = 3
LONGEST_NAME = 48  # letters, of any piece but a text: of an IPv6 address with its port 47
