"""Columns, and the tables and files that hold them."""
