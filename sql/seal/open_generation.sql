-- Continues the ledger as the next generation: its number, the run of its keyring. The head of the old log.
select size, root from redress.open_generation($1, $2)
