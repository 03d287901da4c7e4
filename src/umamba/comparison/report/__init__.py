"""The report of a comparison for people: tables, figures, a gallery and a summary."""
