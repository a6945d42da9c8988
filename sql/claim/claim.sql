-- Claims the oldest runnable runs: worker, limit, definitions it can execute, runs it drives now.
select id, epoch, claims
from redress.claim($1, $2, $3, $4)
