"""`make bench`: what a verified, paid call costs, next to what a bare one and its rivals cost."""
