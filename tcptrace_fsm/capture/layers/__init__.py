"""What stands between a frame and its TCP segment: link types and tunnels."""
