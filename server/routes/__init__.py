"""One module per group of routes; each is thin and shows its whole flow."""
