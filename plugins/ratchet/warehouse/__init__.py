"""One protocol over the warehouse; DuckDB behind it, one advisory lock around it."""
