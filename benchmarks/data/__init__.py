"""Where text comes from, how it is kept, and how it becomes tokens."""
