"""What protects the money: ledger, budget, submission, settlement, reconcile, callbacks, archive."""
