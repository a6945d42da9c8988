-- Sets a hold: id, scope, target, run, reason, code, by.
select redress.put_hold($1, $2, $3, $4, $5, $6, $7)
