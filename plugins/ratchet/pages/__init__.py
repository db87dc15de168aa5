"""What people look at: pages made from the ledger and published summaries, never from the warehouse."""
