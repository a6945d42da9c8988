-- Opens a run, or finds the one that has its key.
select existing, existing_input, xid, at, switch_no
from redress.enter_start($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
