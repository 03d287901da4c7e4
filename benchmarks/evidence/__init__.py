"""The evidence behind `docs/verdict.md`: data sets, effects in each of them, and all together."""
