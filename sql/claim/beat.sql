-- Renews a worker's lease: worker, name, lease ms.
select redress.beat($1, $2, $3)
