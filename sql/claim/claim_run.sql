-- Claims one named run: worker, run.
select epoch, claims, state
from redress.claim_run($1, $2)
