"""One module per published number: `python -m bench.NAME [--quick]`; the last line is JSON."""
