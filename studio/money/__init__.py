"""What protects the money: ledger, budget, submission, settlement, callbacks, archive."""
