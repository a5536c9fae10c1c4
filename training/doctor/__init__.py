"""What is wrong with training data, and whether there is enough of it: examine.py makes the report."""
