"""Data, clients and a demo that run against a Chorus server; nothing in the house imports them."""
