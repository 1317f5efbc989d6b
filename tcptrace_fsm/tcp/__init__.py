"""What TCP is: the machine of RFC 9293, the timers of its implementations, a notation for segments."""
