"""What people look at: the summary, netstat, ladders, diagrams, the page."""
