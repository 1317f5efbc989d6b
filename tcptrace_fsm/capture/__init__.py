"""From bytes to segments: containers, streams, filters, fragments, several captures as one timeline."""
