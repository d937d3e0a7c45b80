"""The checks of the exercises, one file a lesson. They hold what must come out, not how: look after you have tried."""
