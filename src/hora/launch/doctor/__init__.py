"""`hora doctor`: what the hosts are, what joins them as measured, and what is wrong, in plain words."""
