"""Two measurements side by side: ratios, how sure they are, what differs, and a gate for CI."""
