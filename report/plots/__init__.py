"""The figures: what each draws, and the numbers it draws, which are saved beside it."""
