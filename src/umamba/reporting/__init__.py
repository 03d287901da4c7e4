"""Tables and figures as all reports show them."""
