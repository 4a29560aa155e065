"""The report as text: plain answers to the questions that a study asks, in Markdown with its figures beside it."""
