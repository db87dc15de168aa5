"""One protocol over the warehouse; DuckDB and Postgres behind it."""
