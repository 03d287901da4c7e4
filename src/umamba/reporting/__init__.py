"""Tables and figures in the form that all reports use."""
