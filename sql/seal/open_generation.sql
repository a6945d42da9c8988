-- Continues the ledger as the next generation: its number, the run of its keyring.
select redress.open_generation($1, $2)
